r"""What FCR's decoder says of a cell: Normal log-normalised expression, or negative binomial counts (fcr.md §4.4, §5).

A network sees expression centred by the means of the training cells; the decoder's outputs are in units of the genes'
standard deviations there. Expression is [members, genes, cells], natural logarithms.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from scident.engine.batches import SMALLEST_LIBRARY
from scident.engine.likelihoods import negative_log_likelihood, training_loss
from scident.engine.stack import Initial, Stack, constant, normal
from scident.engine.trainer import Matrix
from scident.expression import log_normalised
from scident.models import _whitening

SMALLEST_SCALE = 1e-3
"""Added to every softplus that makes a standard deviation."""

LARGEST_RAW = 10.0
"""Raw scales are clamped to ± this (fcr.md §6)."""

SMALLEST_SPREAD = 1e-2
"""Standard deviation taken for genes that vary less over the training cells."""

SMALLEST_SD = 0.05
"""Least standard deviation of log-normalised expression, about that of a gene seen in one of 2,000 cells.

That of a gene never seen in training would go to 0, and its first count in another cell cost any number of nats.
"""

CELL_TOTAL = 1e4
"""Counts per cell that log-normalised expression is scaled to."""

LOG_2PI = math.log(2 * math.pi)


def scale(raw: Tensor) -> Tensor:
    """Return softplus(raw) + 0.001."""
    return F.softplus(raw.clamp(-LARGEST_RAW, LARGEST_RAW)) + SMALLEST_SCALE


ONE = math.log(math.e - 1)
"""Raw value whose softplus is 1."""


class Observation(ABC):
    """How decoder outputs [members, outputs, cells] become a distribution of a cell's expression."""

    def __init__(self, params: Any, n_genes: int) -> None:
        self.params, self.n_genes = params, n_genes
        self.outputs = n_genes
        """Rows of the decoder's output."""

    @abstractmethod
    def parameters(self) -> dict[str, Initial]:
        """Declare what is learned beside the decoder."""

    def buffers(self) -> dict[str, Initial]:
        """Declare mean and standard deviation of each gene over the training cells."""
        return {"center": constant(0, self.n_genes, 1), "spread": constant(1, self.n_genes, 1)}

    def resident(self, cells: ad.AnnData, prepared: Mapping[str, np.ndarray]) -> Matrix:
        """Return what a batch holds as counts, [cells, genes]."""
        return cells.X

    @abstractmethod
    def centred(self, stack: Stack, counts: Tensor) -> Tensor:
        """Return centred log-normalised expression of what a batch holds."""

    @abstractmethod
    def training(self, stack: Stack, counts: Tensor, out: Tensor) -> Tensor:
        """Return a loss with the slopes of -log p(cell), [members, cells]."""

    @abstractmethod
    def cost(self, stack: Stack, counts: Tensor, out: Tensor) -> Tensor:
        """Return -log p(cell), nats: [members, cells]."""

    @abstractmethod
    def expected(self, stack: Stack, out: Tensor) -> Tensor:
        """Return log-normalised expression at the decoder's mean."""


class NormalObservation(Observation):
    """Log-normalised expression, each gene Normal; its scale is the gene's, or the decoder gives it for each cell."""

    def __init__(self, params: Any, n_genes: int) -> None:
        super().__init__(params, n_genes)
        self.outputs = n_genes if params.scale == "gene" else 2 * n_genes

    def parameters(self) -> dict[str, Initial]:
        """Declare raw scales, 1 standard deviation of the gene at the start."""
        return {"raw_scale": constant(ONE, self.n_genes, 1)} if self.params.scale == "gene" else {}

    def resident(self, cells: ad.AnnData, prepared: Mapping[str, np.ndarray]) -> Matrix:
        """Return centred expression."""
        return log_normalised(cells) - prepared["center"][:, 0]

    def centred(self, stack: Stack, counts: Tensor) -> Tensor:
        """Return it as it is."""
        return counts

    def training(self, stack: Stack, counts: Tensor, out: Tensor) -> Tensor:
        """Return -log p without its constant."""
        if self.params.scale == "gene":
            raw = stack.p["raw_scale"]
        else:
            out, raw = out.chunk(2, 1)
            raw = raw + ONE
        sd = (stack.b["spread"] * scale(raw)).clamp(min=SMALLEST_SD)
        distance = torch.addcmul(counts, out, stack.b["spread"], value=-1) / sd
        return 0.5 * (distance * distance).sum(1) + sd.log().sum(1)

    def cost(self, stack: Stack, counts: Tensor, out: Tensor) -> Tensor:
        """Return -log p of expression, not of counts."""
        return self.training(stack, counts, out) + 0.5 * LOG_2PI * self.n_genes

    def expected(self, stack: Stack, out: Tensor) -> Tensor:
        """Return the decoder's mean."""
        return stack.b["center"] + stack.b["spread"] * out[:, : self.n_genes]


class CountObservation(Observation):
    """Counts, negative binomial with softmax means times the library and a dispersion per gene."""

    def parameters(self) -> dict[str, Initial]:
        """Declare log inverse dispersions."""
        return {"log_dispersion": normal(self.n_genes, 1)}

    def centred(self, stack: Stack, counts: Tensor) -> Tensor:
        """Return log1p of counts per 10,000 minus the training cells' mean."""
        return torch.log1p(counts * (CELL_TOTAL * (-log_library(counts)).exp())) - stack.b["center"]

    def logits(self, stack: Stack, out: Tensor) -> Tensor:
        """Return the softmax's inputs: at 0 every gene has the training cells' mean of log-normalised expression."""
        return torch.log(torch.expm1(stack.b["center"]) + SMALLEST_SCALE) + stack.b["spread"] * out

    def training(self, stack: Stack, counts: Tensor, out: Tensor) -> Tensor:
        """Return the engine's training loss."""
        return training_loss(counts, self.logits(stack, out), log_library(counts), stack.p["log_dispersion"])

    def cost(self, stack: Stack, counts: Tensor, out: Tensor) -> Tensor:
        """Return -log p of the counts."""
        logits = self.logits(stack, out)
        return negative_log_likelihood(counts, logits, log_library(counts), stack.p["log_dispersion"])

    def expected(self, stack: Stack, out: Tensor) -> Tensor:
        """Return log1p of the expected counts per 10,000."""
        return torch.log1p(CELL_TOTAL * torch.softmax(self.logits(stack, out), 1))


def log_library(counts: Tensor) -> Tensor:
    """Return the log of the counts of each cell, [members, 1, cells]."""
    return counts.sum(1, keepdim=True).clamp(min=SMALLEST_LIBRARY).log()


def observation_of(params: Any, n_genes: int) -> Observation:
    """Return the observation model that the parameters name."""
    kinds = {"normal": NormalObservation, "negative_binomial": CountObservation}
    return kinds[params.likelihood](params, n_genes)


def prepared(train: ad.AnnData, components: int) -> dict[str, np.ndarray]:
    r"""Return the buffers center, spread and, if any are asked for, components, from training cells.

    Row i of components is :math:`u_i \sqrt{\lambda_i - \sigma^2} / \lambda_i` of the principal components u of
    expression, their variances λ and the mean variance σ² of the rest: scores are the latents of probabilistic
    principal component analysis, of variance 1 where a component stands out and small where it does not. Tipping &
    Bishop (1999), J. R. Stat. Soc. B 61.
    """
    expression = log_normalised(train)
    found = {
        "center": expression.mean(0)[:, None],
        "spread": np.maximum(expression.std(0), SMALLEST_SPREAD)[:, None],
    }
    if components:
        pca = _whitening.fit(train, components)
        variance = pca[_whitening.SD] ** 2
        gain = np.sqrt(np.maximum(variance - pca[_whitening.REST], 0)) / variance
        found["components"] = pca[_whitening.COMPONENTS] * gain
    return found
