"""The count VAE all members of the sVAE family share (svae.md §2): encoder, decoder, negative binomial counts.

On data that hold real numbers instead of counts, the encoder reads them as they are and the decoder's output is the
mean of a normal distribution. The perturbation label enters through the prior mean of z alone, never the encoder or
the decoder.
"""

from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from scident.engine import layers
from scident.engine.batches import Batch, Cells, chunks
from scident.engine.compiling import compiled
from scident.engine.iwelbo import log_mean_weight, log_weight
from scident.engine.observation import OBSERVATIONS
from scident.engine.stack import Initial, Stack
from scident.engine.streams import Streams
from scident.engine.trainer import Network, Noise
from scident.models._batched import BatchedModel, BatchedParams
from scident.models._design import Design
from scident.types import Latents, Likelihood

SMALLEST_VARIANCE = 1e-4
"""Added to the posterior variance (svae.md §2.6)."""

LARGEST_LOG_VARIANCE = 20.0
"""Of the posterior. While the KL's weight is 0, in the first epoch, nothing else bounds it, and of many cells one would
reach where exp is infinite; no fitted posterior comes near (the released code has no bound)."""

LIKELIHOOD_DRAWS = 10
"""Draws of z (and of the mask) per cell behind a reported negative ELBO (metrics.md §2e)."""

CHUNK = 2048

NELBO, IWELBO = 0, 1
"""Purposes of the random streams of `CountVAE.likelihood`."""

BLOCK = 1024
"""Most cells whose likelihood is computed at once."""


class CountVAEParams(BatchedParams):
    """Architecture and warm-up of the count VAE."""

    width: int = Field(128, ge=1, description="Units of each hidden layer.")
    layers: int = Field(2, ge=1, description="Hidden layers of the encoder and of the decoder.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout rate of the encoder.")
    warmup_epochs: int = Field(
        50, ge=0, description="Epochs over which the weight of the KL rises from 0 to 1; 0: 1 from the first step."
    )
    beta: float = Field(1, ge=0, description="Weight of the KL of z after the warm-up.")
    scale_by_cells: bool = Field(
        False, description="Multiply the loss by the number of training cells: beside it, Adam's `epsilon` is nothing."
    )


class CountVAENetwork(Network):
    """z ~ N(prior mean, I); counts ~ NB(library × softmax(decoder(z)), exp(r)); q(z|x) Gaussian, amortised."""

    def __init__(
        self, params: CountVAEParams, n_genes: int, n_latents: int, n_perturbations: int, observation: str = "counts"
    ) -> None:
        self.params, self.observation = params, OBSERVATIONS[observation]
        self.n_genes, self.n_latents, self.n_perturbations = n_genes, n_latents, n_perturbations
        self._parameters, self._buffers = self._declare()

    @property
    def n_conditions(self) -> int:
        """Number of inputs that tell encoder and decoder of a cell's condition: none."""
        return 0

    def _declare(self) -> tuple[dict[str, Initial], dict[str, Initial]]:
        width, depth = self.params.width, self.params.layers
        encoder, encoder_buffers = layers.trunk_parameters("encoder", self.n_genes + self.n_conditions, width, depth)
        decoder, decoder_buffers = layers.trunk_parameters("decoder", self.n_latents + self.n_conditions, width, depth)
        heads = (
            layers.linear_parameters("mean", width, self.n_latents)
            | layers.linear_parameters("log_variance", width, self.n_latents)
            | layers.linear_parameters("logits", width, self.n_genes)
        )
        noise = self.observation.parameters(self.n_genes)
        return encoder | decoder | heads | noise, encoder_buffers | decoder_buffers

    def parameters(self) -> dict[str, Initial]:
        """Declare encoder, decoder and dispersion."""
        return self._parameters

    def buffers(self) -> dict[str, Initial]:
        """Declare the running statistics of batch normalisation."""
        return self._buffers

    def beside(self, stack: Stack, batch: Batch, h: Tensor) -> Tensor:
        """Return what encoder or decoder read beside `h` [members, features, cells] and `h` itself: `h` alone."""
        return h

    def noise(self, streams: Streams, cells: int, training: bool) -> Noise:
        """Draw dropout masks (in training) and the noise of z."""
        size = (self.params.layers, self.params.width, cells)
        masks = {"keep": streams.keep(self.params.dropout, *size)} if training and self.params.dropout else {}
        return masks | {"z": streams.normal(self.n_latents, cells)}

    def prior_mean(self, stack: Stack, labels: Tensor, noise: Noise) -> Tensor | float:
        """Return the prior mean of z, [members, latents, cells] or a number."""
        return 0.0

    def divergence(self, stack: Stack, mean: Tensor, variance: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Return the KL of q(z|x) from the prior, nats: [members, cells]."""
        return gaussian_kl(mean, variance, self.prior_mean(stack, labels, noise))

    def penalty(self, stack: Stack, weight: Tensor) -> Tensor | float:
        """Return global terms per training cell, [members]; `weight` [members] is the warm-up's."""
        return 0.0

    def weigh(self, stack: Stack, local: Tensor, weight: Tensor) -> Tensor:
        """Combine the mean local loss [members] with global terms; `weight` [members] is the warm-up's."""
        return stack.h["scale"] * (local + self.penalty(stack, weight))

    def encode(
        self, stack: Stack, batch: Batch, training: bool = False, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance of q(z|x), [members, latents, cells]; `masks` are dropout's."""
        read = self.beside(stack, batch, self.observation.read(batch))
        h = layers.trunk(stack, "encoder", read, training, masks)
        log_variance = layers.linear(stack, "log_variance", h).clamp(max=LARGEST_LOG_VARIANCE)
        return layers.linear(stack, "mean", h), log_variance.exp() + SMALLEST_VARIANCE

    def decode(self, stack: Stack, z: Tensor, training: bool) -> Tensor:
        """Return the decoder's output, [members, genes, cells]: logits of counts, means of real numbers."""
        return layers.linear(stack, "logits", layers.trunk(stack, "decoder", z, training))

    def loss(self, stack: Stack, batch: Batch, noise: Noise, epoch: Tensor) -> Tensor:
        """Return mean(R + beta × warm-up × KL) and global terms, [members]; of R only what has a slope."""
        mean, variance = self.encode(stack, batch, training=True, masks=noise.get("keep"))
        z = mean + variance.sqrt() * noise["z"]
        out = self.decode(stack, self.beside(stack, batch, z), training=True)
        r = self.observation.training_loss(stack, batch, out)
        kl = self.divergence(stack, mean, variance, batch.labels, noise)
        weight = warm_up(epoch, stack.h["warmup_epochs"])
        return self.weigh(stack, (r + (stack.h["beta"] * weight)[:, None] * kl).mean(1), weight)

    def validate(self, stack: Stack, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Return sums of R, KL and R + KL over the cells, one draw each (full likelihood, KL unweighted)."""
        r, kl = self.local_terms(stack, batch, noise)
        return {"nelbo": (r + kl).sum(1), "reconstruction": r.sum(1), "kl": kl.sum(1)}

    def local_terms(self, stack: Stack, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return (R, KL) of each cell in evaluation mode with one draw of z and mask, nats: [members, cells] each."""
        mean, variance = self.encode(stack, batch)
        z = mean + variance.sqrt() * noise["z"]
        r = self.observation.loss(stack, batch, self.decode(stack, self.beside(stack, batch, z), training=False))
        return r, self.divergence(stack, mean, variance, batch.labels, noise)

    def log_weight(
        self,
        stack: Stack,
        batch: Batch,
        mean: Tensor,
        variance: Tensor,
        hidden: list[tuple[Tensor, Tensor]],
        noise: Noise,
    ) -> Tensor:
        """Return the log of one sample's importance weight up to a constant of each cell, nats: [members, cells].

        `hidden` are the decoder's layers, their normalisation folded in.
        """

        def log_likelihood(z: Tensor) -> Tensor:
            return self.varying_likelihood(stack, batch, hidden, z)

        prior_mean = self.prior_mean(stack, batch.labels, noise)
        return log_weight(mean, variance, noise["z"], prior_mean, log_likelihood)

    def varying_likelihood(self, stack: Stack, batch: Batch, hidden: list[tuple[Tensor, Tensor]], z: Tensor) -> Tensor:
        """Return what of log p(x|z) depends on z, nats: [members, cells]."""
        z = self.beside(stack, batch, z)
        for weight, bias in hidden:
            z = torch.relu(layers.affine(weight, bias, z))
        return self.observation.varying(stack, batch, layers.linear(stack, "logits", z))


def warm_up(epoch: Tensor, epochs: Tensor) -> Tensor:
    """Return the weight of an epoch: e / E, at most 1, and 1 throughout where E is 0."""
    return (epoch / epochs).nan_to_num(nan=1.0).clamp(max=1)


def gaussian_kl(mean: Tensor, variance: Tensor, prior_mean: Tensor | float) -> Tensor:
    """Return KL(N(mean, variance) || N(prior_mean, I)) summed over latents, nats: [members, cells]."""
    return 0.5 * (variance + (mean - prior_mean) ** 2 - 1 - variance.log()).sum(1)


class CountVAE(BatchedModel):
    """Base of the models of svae.md; a subclass chooses the network."""

    network_class: type[CountVAENetwork] = CountVAENetwork
    along_members = BatchedModel.along_members | {"warmup_epochs", "beta", "scale_by_cells"}

    @classmethod
    def network(cls, params: Any, design: Design) -> CountVAENetwork:
        """Return the count VAE."""
        return cls.network_class(params, design.n_genes, design.n_latents, design.n_perturbations, design.observation)

    @classmethod
    def hyper(cls, params: Any, train: ad.AnnData) -> dict[str, float]:
        """Return warm-up, weight of the KL and scale of the loss."""
        scale = float(train.n_obs) if params.scale_by_cells else 1.0
        return {"warmup_epochs": params.warmup_epochs, "beta": params.beta, "scale": scale}

    def _network(self, cells: ad.AnnData) -> tuple[CountVAENetwork, Stack, Cells]:
        network, stack = self.stack(cells)
        assert isinstance(network, CountVAENetwork)
        codes = cells.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)
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
    def likelihood(self, cells: ad.AnnData, rng: np.random.Generator, samples: int = 0) -> Likelihood:
        """Return R + KL of each cell, averaged over draws of z and mask, and IWELBO from so many of them, nats."""
        params: Any = self.params
        network, stack, data = self._network(cells)
        seed = np.random.SeedSequence(int(rng.integers(2**63)))
        streams = [Streams([seed], stack.device, stack.dtype) for _ in (NELBO, IWELBO)]
        for purpose, stream in zip((NELBO, IWELBO), streams, strict=True):
            stream.start(purpose, 0)
        weigh = network.log_weight
        if params.compile == "auto" and samples:
            weigh = compiled(network.log_weight, isolated=False)
        nelbo, bounds = [], []
        size = -(-cells.n_obs // -(-cells.n_obs // BLOCK))  # blocks of equal size, but for the last
        for start, stop in chunks(cells.n_obs, size):
            block = _Block(network, stack, data.gather(torch.arange(start, stop)[None]))
            nelbo.append(block.nelbo(streams[0]))
            if samples:
                # a graph is made for one number of cells
                bounds.append(block.iwelbo(streams[1], samples, weigh if stop - start == size else network.log_weight))
        return Likelihood(torch.cat(nelbo).numpy(), torch.cat(bounds).numpy() if samples else None)


class _Block:
    """Some cells of a stack of one member, encoded; what no z changes is computed once."""

    def __init__(self, network: CountVAENetwork, stack: Stack, batch: Batch) -> None:
        self.network, self.stack, self.batch = network, stack, batch
        self.mean, self.variance = network.encode(stack, batch)
        self.constant = network.observation.constant(stack, batch)
        self.hidden = layers.folded(stack, "decoder")

    def _noise(self, streams: Streams) -> Noise:
        return self.network.noise(streams, len(self.batch), training=False)

    def nelbo(self, streams: Streams) -> Tensor:
        """Return R + KL, nats: [cells], double."""
        total = torch.zeros_like(self.constant)
        for _ in range(LIKELIHOOD_DRAWS):
            noise = self._noise(streams)
            z = self.mean + self.variance.sqrt() * noise["z"]
            total += self.network.divergence(self.stack, self.mean, self.variance, self.batch.labels, noise)
            total -= self.network.varying_likelihood(self.stack, self.batch, self.hidden, z)
        return (total / LIKELIHOOD_DRAWS - self.constant)[0]

    def iwelbo(self, streams: Streams, samples: int, weigh: Callable[..., Tensor]) -> Tensor:
        """Return the importance-weighted bound, nats: [cells], double; `weigh` is the network's `log_weight`."""

        def draw() -> Tensor:
            return weigh(self.stack, self.batch, self.mean, self.variance, self.hidden, self._noise(streams))

        return (log_mean_weight(draw, samples) + self.constant)[0]
