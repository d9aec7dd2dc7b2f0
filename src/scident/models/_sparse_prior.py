"""The conditional prior of the sVAE family: z | k ~ N(mask_k * shift_k, I) with a learned mask (svae.md §2.1-2.4)."""

from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from scident.engine.layers import rows_of
from scident.engine.progress import Progress
from scident.engine.stack import Initial, Stack, constant
from scident.engine.streams import Streams
from scident.engine.trainer import Batches, Network, Noise
from scident.models._count_vae import CountVAENetwork, gaussian_kl
from scident.models._heldout import AdaptingModel
from scident.models._retraining import TwiceTrainedParams
from scident.models._rotation import RESTARTS, rotate, sparse_rotation
from scident.models._shift_prior import ShiftPriorNetwork
from scident.models.base import Member
from scident.types import Targets

FIRST_LOGIT = 5.0
"""Mask logits start here: q = 0.9933, every perturbation may move every latent."""


class SparsePriorParams(TwiceTrainedParams):
    """How the mask enters the bound; defaults are the released code's."""

    mask: Literal["sampled", "expected"] = Field(
        "sampled", description="The KL of a sampled mask, or its expectation over masks, which has no sampling noise."
    )
    rotate_after: int = Field(
        0,
        ge=0,
        description="Epochs of training without the penalty, after which the latents are rotated so that perturbations "
        "move few of them, the masks are all on again and the penalty begins; 0: the penalty is there from the start.",
    )
    mask_draw: Literal["cell", "batch"] = Field(
        "cell", description="A sampled mask is drawn anew for each cell, or once for all cells of a batch."
    )
    mask_value: Literal["hard", "soft"] = Field(
        "hard", description="A sampled mask is 0 or 1 with the slope of the soft sample, or the soft sample itself."
    )

    @model_validator(mode="after")
    def _rotation_comes_in_time(self) -> "SparsePriorParams":
        if self.rotate_after and self.epochs and self.rotate_after >= min(self.epochs, self.patience):
            raise ValueError(
                f"rotate_after is {self.rotate_after}, but training may end after epochs {self.epochs} or patience "
                f"{self.patience}, without its penalty; rotate earlier"
            )
        return self


class SparsePriorNetwork(ShiftPriorNetwork):
    """A shift and a mask logit per perturbation and latent; masks are sampled, also outside training."""

    params: Any

    def parameters(self) -> dict[str, Initial]:
        """Declare the count VAE's parameters, shifts and mask logits, [perturbations, latents] each."""
        return super().parameters() | {"mask_logits": constant(FIRST_LOGIT, self.n_perturbations, self.n_latents)}

    def buffers(self) -> dict[str, Initial]:
        """Declare the running statistics and, for the rotation, which perturbations count and whether it is done."""
        own = {"seen": constant(0, self.n_perturbations), "rotated": constant(0)}
        return super().buffers() | (own if self.params.rotate_after else {})

    def weigh(self, stack: Stack, local: Tensor, weight: Tensor) -> Tensor:
        """Combine the mean local loss [members] with the penalty, which waits for the rotation."""
        return stack.h["scale"] * (local + stack.b.get("rotated", 1) * self.penalty(stack, weight))

    @torch.no_grad()
    def turn(self, stack: Stack, streams: Streams, epoch: int, cells: Batches) -> bool:
        """Rotate the latents once, after `rotate_after` epochs; what the decoder says of a cell's mean stays."""
        if epoch == 0 or epoch != self.params.rotate_after:
            return False
        shift, logits = stack.p["shift"], stack.p["mask_logits"]
        shift *= torch.sigmoid(logits)
        logits.fill_(FIRST_LOGIT)
        starts = streams.normal(RESTARTS, self.n_latents, self.n_latents)
        rotation, offset = sparse_rotation(shift, stack.b["seen"], starts)
        rotate(stack, rotation.to(stack.dtype), offset.to(stack.dtype))
        stack.b["rotated"].fill_(1)
        return True

    def noise(self, streams: Streams, cells: int, training: bool) -> Noise:
        """Draw that of the count VAE and the logistic noise of the masks."""
        drawn = super().noise(streams, cells, training)
        if training and self.params.mask == "expected":
            return drawn
        rows = self.n_perturbations if self.params.mask_draw == "batch" else cells
        return drawn | {"mask": streams.logistic(rows, self.n_latents)}

    def prior_mean(self, stack: Stack, labels: Tensor, noise: Noise) -> Tensor:
        """Return mask × shift of each cell's perturbation, [members, latents, cells]."""
        logits, shift = stack.p["mask_logits"], rows_of(stack.p["shift"], labels)
        if self.params.mask_draw == "batch":
            mask = rows_of(self._mask(logits + noise["mask"]), labels)
        else:
            mask = self._mask(rows_of(logits, labels) + noise["mask"])
        return (mask * shift).transpose(1, 2)

    def _mask(self, noisy: Tensor) -> Tensor:
        """Turn logits + logistic noise into a mask: Gumbel-sigmoid of temperature 1, straight-through if hard."""
        soft = torch.sigmoid(noisy)
        if self.params.mask_value == "soft":
            return soft
        return (soft > 0.5).to(soft.dtype) + (soft - soft.detach())

    def divergence(self, stack: Stack, mean: Tensor, variance: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Return the KL of q(z|x) from the prior under a sampled mask, or its expectation over masks: [members, cells].

        E(m - γμ)² = (m - qμ)² + q(1 - q)μ².
        """
        if self.params.mask == "sampled":
            return super().divergence(stack, mean, variance, labels, noise)
        q, shift = torch.sigmoid(stack.p["mask_logits"]), stack.p["shift"]
        spread = (q * (1 - q) * shift**2).sum(2, keepdim=True)
        expected = gaussian_kl(mean, variance, rows_of(q * shift, labels).transpose(1, 2))
        return expected + 0.5 * rows_of(spread, labels).squeeze(2)

    def describe(self, stack: Stack) -> dict[str, Tensor]:
        """Return the share of mask entries that are on."""
        return {"mask_density": (stack.p["mask_logits"] > 0).to(stack.dtype).mean((1, 2))}


class SparsePrior(AdaptingModel):
    """Base of sVAE+, sVAE and iVAE as released; targets are the mask entries with q > 0.5."""

    network_class: type[CountVAENetwork] = SparsePriorNetwork

    @classmethod
    def _start(cls, network: Network, member: Member, rows: tuple[int, int]) -> Progress:
        progress = super()._start(network, member, rows)
        if "seen" in progress.state.buffers:
            codes = member.train.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)
            progress.state.buffers["seen"][np.unique(codes)] = 1
        return progress

    def mask_probability(self) -> np.ndarray:
        """Return q = sigmoid(mask logits), [perts, latents]."""
        probability: np.ndarray = 1 / (1 + np.exp(-self.state["mask_logits"].astype(np.float64)))
        return probability

    def targets(self) -> Targets | None:
        """Return q as scores and q > 0.5 as targets."""
        q = self.mask_probability()
        return Targets(q, q > 0.5, "mask")
