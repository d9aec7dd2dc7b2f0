"""The VAE's encoder as it is drawn, without a step of training: what the architecture alone gives."""

from pydantic import Field

from scident.info import ModelInfo
from scident.models._count_vae import CountVAE, CountVAEParams

info = ModelInfo(
    label="untrained encoder",
    source="control of this project",
    role="negative_control",
    gives=("latents",),
    light=True,
)


class Params(CountVAEParams):
    """Parameters of the untrained encoder."""

    epochs: int = Field(0, ge=0, le=0, description="Always 0.")


class Untrained(CountVAE):
    """First state of the VAE, per seed."""
