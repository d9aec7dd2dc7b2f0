"""The conditional prior of the sVAE family: z | k ~ N(mask_k * shift_k, I) with a learned mask (svae.md §2.1-2.4)."""

import anndata as ad
import numpy as np
import torch
from torch import Tensor

from scident.engine.stack import Initial, Stack, constant, normal
from scident.engine.streams import Streams
from scident.models._count_vae import CountVAE, CountVAENetwork

FIRST_LOGIT = 5.0
"""Mask logits start here: q = 0.9933, every perturbation may move every latent."""


class SparsePriorNetwork(CountVAENetwork):
    """A shift and a mask logit per perturbation and latent.

    Masks are sampled anew for each cell, also outside training: straight-through Gumbel-sigmoid, temperature 1.
    """

    def parameters(self) -> dict[str, Initial]:
        """Declare the count VAE's parameters, shifts and mask logits, [perturbations, latents] each."""
        size = (self.n_perturbations, self.n_latents)
        return super().parameters() | {"shift": normal(*size), "mask_logits": constant(FIRST_LOGIT, *size)}

    def prior_mean(self, stack: Stack, labels: Tensor, streams: Streams) -> Tensor:
        """Return mask × shift of each cell's perturbation, [members, latents, cells]."""
        shift, logits = rows_of(stack.p["shift"], labels), rows_of(stack.p["mask_logits"], labels)
        soft = torch.sigmoid(logits + streams.logistic(labels.shape[1], self.n_latents))
        hard = (soft > 0.5).to(soft.dtype)
        return ((hard + (soft - soft.detach())) * shift).transpose(1, 2)

    def describe(self, stack: Stack) -> dict[str, Tensor]:
        """Return the share of mask entries that are on."""
        return {"mask_density": (stack.p["mask_logits"] > 0).to(stack.dtype).mean((1, 2))}


def rows_of(table: Tensor, labels: Tensor) -> Tensor:
    """Return each cell's row of `table` [members, perturbations, latents] as [members, cells, latents]."""
    members, rows, width = table.shape
    first = torch.arange(members, device=labels.device)[:, None] * rows
    return table.reshape(members * rows, width).index_select(0, (labels + first).reshape(-1)).view(members, -1, width)


class SparsePrior(CountVAE):
    """Base of iVAE, sVAE and sVAE+."""

    network_class = SparsePriorNetwork

    def mask_probability(self) -> np.ndarray:
        """Return q = sigmoid(mask logits), [perts, latents]."""
        probability: np.ndarray = 1 / (1 + np.exp(-self.state["mask_logits"].astype(np.float64)))
        return probability

    def spread(self, train: ad.AnnData) -> np.ndarray:
        """Return the standard deviation of each latent's posterior mean over training cells, [latents]."""
        return np.asarray(self.embed(train).std(0))
