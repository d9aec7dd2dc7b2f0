"""sVAE+: sparse mechanism shifts with a beta-Bernoulli mask (svae.md §2, released objective)."""

from typing import Any

import anndata as ad
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from pydantic import Field
from torch import Tensor

from scident.engine.stack import Stack
from scident.info import ModelInfo
from scident.models._count_vae import CountVAEParams
from scident.models._sparse_prior import SparsePrior, SparsePriorNetwork
from scident.types import Targets

info = ModelInfo(
    label="sVAE+",
    source="Lopez et al. 2023, CLeaR, arXiv 2211.03553",
    role="method",
    gives=("latents", "targets", "likelihood"),
    label_conditioned=True,
    identifiability="component",
    assumes="each perturbation shifts few latents, and the patterns differ enough",
    likelihood="negative binomial",
    note="penalty fixed, tuned elsewhere: λ = 0.444 × training cells per perturbation unless the entry sets it",
)


class Params(CountVAEParams):
    """Parameters of sVAE+; the penalty is fixed, tuned elsewhere."""

    penalty_per_cell: float = Field(
        0.444,
        ge=0,
        description="λ divided by the mean number of training cells per training perturbation; λ is at least 1.",
    )
    penalty: float | None = Field(None, ge=0, description="λ itself; overrides penalty_per_cell. 0 is taken as 1.")


class SVAEPlusNetwork(SparsePriorNetwork):
    """Local terms times the number of training cells, plus the sparsity of all K mask rows."""

    def weigh(self, stack: Stack, local: Tensor, weight: Tensor) -> Tensor:
        """Return N × local + warm-up × (-log Beta(q; 1, λ) summed over the mask, w tied to q), [members]."""
        penalty = stack.h["penalty"]
        entries = self.n_perturbations * self.n_latents
        softplus = F.softplus(stack.p["mask_logits"]).sum((1, 2))
        sparsity = (penalty - 1) * softplus - entries * penalty.log()
        return stack.h["n_train"] * local + weight * sparsity


class SVAEPlus(SparsePrior):
    """Targets are the mask entries with q > 0.5."""

    network_class = SVAEPlusNetwork
    along_members = SparsePrior.along_members | {"penalty", "penalty_per_cell"}

    @classmethod
    def hyper(cls, params: Any, train: ad.AnnData) -> dict[str, float]:
        """Return warm-up, λ and the number of training cells."""
        per_perturbation = train.n_obs / max(train.obs["perturbation"].nunique(), 1)
        penalty = params.penalty if params.penalty is not None else params.penalty_per_cell * per_perturbation
        return super().hyper(params, train) | {"penalty": max(1.0, penalty), "n_train": float(train.n_obs)}

    def targets(self) -> Targets:
        """Return q as scores and q > 0.5 as targets."""
        q = self.mask_probability()
        return Targets(q, q > 0.5, "mask")
