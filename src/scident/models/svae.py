"""sVAE: sparse mechanism shifts by a penalty on the mean of the mask (svae.md §3)."""

from typing import Any

import anndata as ad
import torch
from pydantic import Field
from torch import Tensor

from scident.engine.stack import Stack
from scident.info import ModelInfo
from scident.models._sparse_prior import SparsePrior, SparsePriorNetwork, SparsePriorParams

info = ModelInfo(
    label="sVAE",
    source="Lachapelle et al. 2022, CLeaR, arXiv 2107.10098; as parameterised by Lopez et al. 2023, CLeaR, "
    "arXiv 2211.03553",
    role="method",
    gives=("latents", "targets", "likelihood"),
    label_conditioned=True,
    adapts=True,
    identifiability="component",
    assumes="each perturbation shifts few latents, and the patterns differ enough",
    likelihood="negative binomial",
    note="penalty 100 unless the entry sets it; none is published",
)


class Params(SparsePriorParams):
    """Parameters of sVAE."""

    penalty: float = Field(100, ge=0, description="s, which multiplies the mean of q over the K × p mask entries.")


class SVAENetwork(SparsePriorNetwork):
    """The mean of q is added to the mean loss of a cell, without warm-up."""

    def penalty(self, stack: Stack, weight: Tensor) -> Tensor:
        """Return s × mean of q over the mask, [members]."""
        return stack.h["penalty"] * torch.sigmoid(stack.p["mask_logits"]).mean((1, 2))


class SVAE(SparsePrior):
    """The penalty is one number for all worlds: a mean over the mask does not grow with it."""

    network_class = SVAENetwork
    along_members = SparsePrior.along_members | {"penalty"}

    @classmethod
    def hyper(cls, params: Any, train: ad.AnnData) -> dict[str, float]:
        """Return the count VAE's numbers and s."""
        return super().hyper(params, train) | {"penalty": params.penalty}
