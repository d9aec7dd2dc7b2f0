"""iVAE as the sVAE authors' code runs it: the conditional prior with a learnable mask and no penalty (svae.md §3)."""

import anndata as ad
import numpy as np

from scident.info import ModelInfo
from scident.models._sparse_prior import SparsePrior, SparsePriorParams
from scident.types import Targets

info = ModelInfo(
    label="iVAE (released)",
    source="Khemakhem et al. 2020, AISTATS; as parameterised by Lopez et al. 2023, CLeaR, arXiv 2211.03553",
    role="method",
    gives=("latents", "targets", "likelihood"),
    label_conditioned=True,
    adapts=True,
    identifiability="affine",
    assumes="shifts of enough perturbations span the latent space",
    likelihood="negative binomial",
)

TARGETS_PER_PERTURBATION = 2
"""The authors call the two latents with the largest shift the targets of a perturbation."""


class Params(SparsePriorParams):
    """Parameters of iVAE."""


class IVAE(SparsePrior):
    """Mask sampled but never pushed towards zero."""

    def finish(self, train: ad.AnnData) -> None:
        """Keep the spread of each latent, the unit its shifts are judged in."""
        self.state["spread"] = np.asarray(self.embed(train).std(0))

    def targets(self) -> Targets | None:
        """Return |shift| × q per latent sd as scores and the two largest |shift| of each perturbation as targets."""
        size = np.abs(self.state["shift"].astype(np.float64))
        spread = np.maximum(self.state["spread"], np.finfo(float).tiny)
        last = np.argsort(-size, axis=1)[:, :TARGETS_PER_PERTURBATION]
        on = np.zeros(size.shape, dtype=bool)
        np.put_along_axis(on, last, True, axis=1)
        return Targets(size * self.mask_probability() / spread, on, "shift")
