"""sVAE+: sparse mechanism shifts with a beta-Bernoulli mask (svae.md §2)."""

from typing import Any, Literal

import anndata as ad
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from pydantic import Field
from torch import Tensor

from scident.engine.stack import Initial, Stack, constant
from scident.info import ModelInfo
from scident.models._sparse_prior import SparsePrior, SparsePriorNetwork, SparsePriorParams

info = ModelInfo(
    label="sVAE+",
    source="Lopez et al. 2023, CLeaR, arXiv 2211.03553",
    role="method",
    gives=("latents", "targets", "likelihood"),
    label_conditioned=True,
    adapts=True,
    identifiability="component",
    assumes="each perturbation shifts few latents, and the patterns differ enough",
    likelihood="negative binomial",
    note="λ = 0.444 × training cells per perturbation (tuned elsewhere) unless the entry sets it or has a grid; the "
    "rotation that `rotate_after` asks for is this project's, not the authors'",
)


class Params(SparsePriorParams):
    """Parameters of sVAE+; defaults are the released code's, but for the penalty, of which none is published."""

    penalty_per_cell: float = Field(
        0.444,
        ge=0,
        description="λ divided by the mean number of training cells per training perturbation; λ is at least 1.",
    )
    penalty: float | None = Field(None, ge=0, description="λ itself; overrides penalty_per_cell. 0 is taken as 1.")
    scale_by_cells: bool = Field(
        True, description="Multiply the loss by the number of training cells, as published for this method alone."
    )
    mask_kl: Literal["tied", "full"] = Field(
        "tied",
        description="w, the prior probability of a mask entry, is q itself, as released; or it is learned, and the "
        "bound holds the KL of the mask from it.",
    )


class SVAEPlusNetwork(SparsePriorNetwork):
    """The sparsity of all K mask rows stands beside N times the local terms."""

    def parameters(self) -> dict[str, Initial]:
        """Declare the sparse prior's parameters and, if w is learned, its logits, [perturbations, latents]."""
        own = {"weight_logits": constant(1, self.n_perturbations, self.n_latents)}
        return super().parameters() | (own if self.params.mask_kl == "full" else {})

    def penalty(self, stack: Stack, weight: Tensor) -> Tensor:
        """Return warm-up × (KL(Bern(q) || Bern(w)) - log Beta(w; 1, λ), summed over the mask) / N, [members]."""
        penalty, alpha = stack.h["penalty"], stack.p["mask_logits"]
        omega = alpha if self.params.mask_kl == "tied" else stack.p["weight_logits"]
        sparsity = (penalty - 1) * F.softplus(omega).sum((1, 2)) - omega[0].numel() * penalty.log()
        if self.params.mask_kl == "full":
            # KL(Bern(q) || Bern(w)), by log q = α - softplus(α) and log(1 - q) = -softplus(α)
            divergence = torch.sigmoid(alpha) * (alpha - omega) + F.softplus(omega) - F.softplus(alpha)
            sparsity = sparsity + divergence.sum((1, 2))
        return weight * sparsity / stack.h["n_train"]


class SVAEPlus(SparsePrior):
    """λ and the number of training cells belong to each member."""

    network_class = SVAEPlusNetwork
    plain = True
    along_members = SparsePrior.along_members | {"penalty", "penalty_per_cell"}

    @classmethod
    def hyper(cls, params: Any, train: ad.AnnData) -> dict[str, float]:
        """Return warm-up, λ and the number of training cells."""
        per_perturbation = train.n_obs / max(train.obs["perturbation"].nunique(), 1)
        penalty = params.penalty if params.penalty is not None else params.penalty_per_cell * per_perturbation
        return super().hyper(params, train) | {"penalty": max(1.0, penalty), "n_train": float(train.n_obs)}
