"""β-VAE: the variational autoencoder with another weight of the KL (svae.md §3)."""

from pydantic import Field

from scident.info import ModelInfo
from scident.models._retraining import TwiceTrained, TwiceTrainedParams

info = ModelInfo(
    label="β-VAE",
    source="Higgins et al. 2017, ICLR; count model of Lopez et al. 2018, Nature Methods",
    role="baseline",
    gives=("latents", "likelihood"),
    assumes="nothing about perturbations",
    likelihood="negative binomial",
    note="β = 4 unless the entry sets it",
)


class Params(TwiceTrainedParams):
    """Parameters of the β-VAE."""

    beta: float = Field(4, ge=0, description="Weight of the KL of z after the warm-up; 1 is the VAE.")


class BetaVAE(TwiceTrained):
    """Prior mean 0 for every cell; training weighs the KL by β, validation and likelihood do not."""
