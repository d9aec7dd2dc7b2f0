"""The count VAE all members of the sVAE family share (svae.md §2): encoder, decoder, negative binomial counts.

The perturbation label enters through the prior mean of z alone, never the encoder or the decoder.
"""

from typing import Any

import anndata as ad
import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from scident.engine import layers
from scident.engine.batches import Batch, Cells, chunks
from scident.engine.likelihoods import log_means, negative_log_likelihood, training_loss
from scident.engine.stack import Initial, Stack, normal
from scident.engine.streams import Streams
from scident.engine.trainer import Network
from scident.models._batched import BatchedModel, BatchedParams
from scident.types import Latents

SMALLEST_VARIANCE = 1e-4
"""Added to the posterior variance (svae.md §2.6)."""

LIKELIHOOD_DRAWS = 10
"""Draws of z (and of the mask) per cell behind a reported negative ELBO (metrics.md §2e)."""

CHUNK = 2048


class CountVAEParams(BatchedParams):
    """Architecture and warm-up of the count VAE."""

    width: int = Field(128, ge=1, description="Units of each hidden layer.")
    layers: int = Field(2, ge=1, description="Hidden layers of the encoder and of the decoder.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout rate of the encoder.")
    warmup_epochs: int = Field(50, ge=1, description="Epochs over which the weight of the KL rises from 0 to 1.")


class CountVAENetwork(Network):
    """z ~ N(prior mean, I); counts ~ NB(library × softmax(decoder(z)), exp(r)); q(z|x) Gaussian, amortised."""

    def __init__(self, params: CountVAEParams, n_genes: int, n_latents: int, n_perturbations: int) -> None:
        self.params = params
        self.n_genes, self.n_latents, self.n_perturbations = n_genes, n_latents, n_perturbations
        self._parameters, self._buffers = self._declare()

    def _declare(self) -> tuple[dict[str, Initial], dict[str, Initial]]:
        width, depth = self.params.width, self.params.layers
        encoder, encoder_buffers = layers.trunk_parameters("encoder", self.n_genes, width, depth)
        decoder, decoder_buffers = layers.trunk_parameters("decoder", self.n_latents, width, depth)
        heads = (
            layers.linear_parameters("mean", width, self.n_latents)
            | layers.linear_parameters("log_variance", width, self.n_latents)
            | layers.linear_parameters("logits", width, self.n_genes)
        )
        return encoder | decoder | heads | {
            "log_dispersion": normal(self.n_genes, 1)
        }, encoder_buffers | decoder_buffers

    def parameters(self) -> dict[str, Initial]:
        """Declare encoder, decoder and dispersion."""
        return self._parameters

    def buffers(self) -> dict[str, Initial]:
        """Declare the running statistics of batch normalisation."""
        return self._buffers

    def prior_mean(self, stack: Stack, labels: Tensor, streams: Streams) -> Tensor | float:
        """Return the prior mean of z, [members, latents, cells] or a number."""
        return 0.0

    def weigh(self, stack: Stack, local: Tensor, weight: Tensor) -> Tensor:
        """Combine the mean local loss [members] with global terms; `weight` [members] is the warm-up's."""
        return local

    def encode(self, stack: Stack, batch: Batch, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and variance of q(z|x), [members, latents, cells]; `masks` are training's dropout masks."""
        h = layers.trunk(stack, "encoder", torch.log1p(batch.counts), masks is not None, masks)
        variance = layers.linear(stack, "log_variance", h).exp() + SMALLEST_VARIANCE
        return layers.linear(stack, "mean", h), variance

    def decode(self, stack: Stack, z: Tensor, training: bool) -> Tensor:
        """Return decoder logits, [members, genes, cells]."""
        return layers.linear(stack, "logits", layers.trunk(stack, "decoder", z, training))

    def loss(self, stack: Stack, batch: Batch, streams: Streams, epoch: int) -> Tensor:
        """Return mean(R + warm-up × KL) and global terms, [members]."""
        masks = streams.keep(self.params.dropout, self.params.layers, self.params.width, len(batch))
        mean, variance = self.encode(stack, batch, masks)
        z = mean + variance.sqrt() * streams.normal(self.n_latents, len(batch))
        logits = self.decode(stack, z, training=True)
        r = training_loss(batch.counts, logits, batch.log_library, stack.p["log_dispersion"])
        kl = gaussian_kl(mean, variance, self.prior_mean(stack, batch.labels, streams))
        weight = (epoch / stack.h["warmup_epochs"]).clamp(max=1)
        return self.weigh(stack, (r + weight[:, None] * kl).mean(1), weight)

    def validate(self, stack: Stack, batch: Batch, streams: Streams) -> dict[str, Tensor]:
        """Return sums of R, KL and R + KL over the cells, one draw each (full likelihood, KL unweighted)."""
        r, kl = self.local_terms(stack, batch, streams)
        return {"nelbo": (r + kl).sum(1), "reconstruction": r.sum(1), "kl": kl.sum(1)}

    def local_terms(self, stack: Stack, batch: Batch, streams: Streams) -> tuple[Tensor, Tensor]:
        """Return (R, KL) of each cell in evaluation mode with one draw of z and mask, nats: [members, cells] each."""
        mean, variance = self.encode(stack, batch)
        z = mean + variance.sqrt() * streams.normal(self.n_latents, len(batch))
        log_mean = log_means(self.decode(stack, z, training=False), batch.log_library)
        r = negative_log_likelihood(batch.counts, log_mean, stack.p["log_dispersion"])
        return r, gaussian_kl(mean, variance, self.prior_mean(stack, batch.labels, streams))


def gaussian_kl(mean: Tensor, variance: Tensor, prior_mean: Tensor | float) -> Tensor:
    """Return KL(N(mean, variance) || N(prior_mean, I)) summed over latents, nats: [members, cells]."""
    return 0.5 * (variance + (mean - prior_mean) ** 2 - 1 - variance.log()).sum(1)


class CountVAE(BatchedModel):
    """Base of the models of svae.md; a subclass chooses the network."""

    network_class: type[CountVAENetwork] = CountVAENetwork
    along_members = BatchedModel.along_members | {"warmup_epochs"}

    @classmethod
    def network(cls, params: Any, n_genes: int, n_latents: int, n_perturbations: int) -> CountVAENetwork:
        """Return the count VAE."""
        return cls.network_class(params, n_genes, n_latents, n_perturbations)

    @classmethod
    def hyper(cls, params: Any, train: ad.AnnData) -> dict[str, float]:
        """Return the warm-up."""
        return {"warmup_epochs": params.warmup_epochs}

    def _network(self, cells: ad.AnnData) -> tuple[CountVAENetwork, Stack, Cells]:
        categories = cells.obs["perturbation"].cat
        network, stack = self.stack(cells.n_vars, len(categories.categories))
        assert isinstance(network, CountVAENetwork)
        codes = categories.codes.to_numpy(dtype=np.int64)
        return network, stack, Cells([cells.X], [codes], stack.device, stack.dtype)

    @torch.no_grad()
    def embed(self, cells: ad.AnnData) -> Latents:
        """Return posterior means, [cells, latents]; dropout off, running statistics."""
        network, stack, data = self._network(cells)
        parts = []
        for start, stop in chunks(cells.n_obs, CHUNK):
            mean, _ = network.encode(stack, data.gather(torch.arange(start, stop)[None]))
            parts.append(mean[0].T.numpy())
        return np.concatenate(parts).astype(np.float64)

    @torch.no_grad()
    def likelihood(self, cells: ad.AnnData, rng: np.random.Generator) -> Float[np.ndarray, " cells"]:
        """Return R + KL of each cell, nats, averaged over draws of z and mask."""
        network, stack, data = self._network(cells)
        seed = np.random.SeedSequence(int(rng.integers(2**63)))
        streams = Streams([seed], stack.device, stack.dtype)
        streams.start(0, 0)
        parts = []
        for start, stop in chunks(cells.n_obs, CHUNK):
            batch = data.gather(torch.arange(start, stop)[None])
            draws = [sum(network.local_terms(stack, batch, streams))[0] for _ in range(LIKELIHOOD_DRAWS)]  # type: ignore[index]
            parts.append(torch.stack(draws).mean(0).numpy())
        return np.concatenate(parts).astype(np.float64)
