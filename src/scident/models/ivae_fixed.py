"""iVAE with every shift free: the conditional prior without a mask (svae.md §3)."""

import numpy as np

from scident.info import ModelInfo
from scident.models._retraining import TwiceTrainedParams
from scident.models._shift_prior import ShiftPriorNetwork
from scident.models.ivae_released import IVAE

info = ModelInfo(
    label="iVAE",
    source="Khemakhem et al. 2020, AISTATS, arXiv 1907.04809; network and counts of Lopez et al. 2023, CLeaR",
    role="method",
    gives=("latents", "targets", "likelihood"),
    label_conditioned=True,
    adapts=True,
    identifiability="affine",
    assumes="shifts of enough perturbations span the latent space",
    likelihood="negative binomial",
)


class Params(TwiceTrainedParams):
    """Parameters of iVAE."""


class FixedIVAE(IVAE):
    """Every perturbation may move every latent; nothing of that is learned."""

    network_class = ShiftPriorNetwork

    def mask_probability(self) -> np.ndarray:
        """Return ones, [perts, latents]."""
        return np.ones(self.state["shift"].shape)
