"""Variational autoencoder with a standard normal prior: what the count VAE does without perturbation labels."""

from pydantic import Field

from scident.info import ModelInfo
from scident.models._retraining import TwiceTrained, TwiceTrainedParams

info = ModelInfo(
    label="VAE",
    source="Kingma & Welling 2014, arXiv 1312.6114; count model of Lopez et al. 2018, Nature Methods",
    role="baseline",
    gives=("latents", "likelihood"),
    assumes="nothing about perturbations",
    likelihood="negative binomial",
)


class Params(TwiceTrainedParams):
    """Parameters of the VAE."""

    beta: float = Field(1, ge=1, le=1, description="Always 1; `beta_vae` is for others.")


class VAE(TwiceTrained):
    """Prior mean 0 for every cell."""
