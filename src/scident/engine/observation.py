"""What p(x|z) is, given the decoder's output: counts or real numbers.

Every function takes the decoder's output `out` [members, genes, cells] and returns nats per cell, [members, cells].
"""

import math
from abc import ABC, abstractmethod

from torch import Tensor

from scident.engine import likelihoods
from scident.engine.batches import Batch
from scident.engine.stack import Initial, Stack, constant, normal

SMALLEST_LOG_SD = -7.0
"""Below it the standard deviation of a gene no longer falls: a gene that never varies would make it 0."""


class Observation(ABC):
    """An observation model with one parameter per gene."""

    @abstractmethod
    def parameters(self, genes: int) -> dict[str, Initial]:
        """Declare the parameter."""

    @abstractmethod
    def read(self, batch: Batch) -> Tensor:
        """Return what an encoder reads of the cells, [members, genes, cells]."""

    @abstractmethod
    def training_loss(self, stack: Stack, batch: Batch, out: Tensor) -> Tensor:
        """Return a number with the gradient of -log p(x|z)."""

    @abstractmethod
    def loss(self, stack: Stack, batch: Batch, out: Tensor) -> Tensor:
        """Return -log p(x|z)."""

    @abstractmethod
    def varying(self, stack: Stack, batch: Batch, out: Tensor) -> Tensor:
        """Return what of log p(x|z) depends on `out`."""

    @abstractmethod
    def constant(self, stack: Stack, batch: Batch) -> Tensor:
        """Return what of log p(x|z) does not, double."""


class NegativeBinomial(Observation):
    """Counts: means library × softmax(out), inverse dispersion exp(r) per gene."""

    def parameters(self, genes: int) -> dict[str, Initial]:
        """Declare r."""
        return {"log_dispersion": normal(genes, 1)}

    def read(self, batch: Batch) -> Tensor:
        """Return log1p of the counts."""
        return likelihoods.log1p(batch.counts)

    def training_loss(self, stack: Stack, batch: Batch, out: Tensor) -> Tensor:
        """Return a number that costs less than the density."""
        return likelihoods.training_loss(batch.counts, out, batch.log_library, stack.p["log_dispersion"])

    def loss(self, stack: Stack, batch: Batch, out: Tensor) -> Tensor:
        """Return -log NB(x)."""
        return likelihoods.negative_log_likelihood(batch.counts, out, batch.log_library, stack.p["log_dispersion"])

    def varying(self, stack: Stack, batch: Batch, out: Tensor) -> Tensor:
        """Return the part of the means."""
        return likelihoods.varying_part(batch.counts, out, batch.log_library, stack.p["log_dispersion"])

    def constant(self, stack: Stack, batch: Batch) -> Tensor:
        """Return the part of counts and dispersion."""
        return likelihoods.constant_part(batch.counts, stack.p["log_dispersion"])


class Normal(Observation):
    """Real numbers: means `out`, a standard deviation per gene."""

    def parameters(self, genes: int) -> dict[str, Initial]:
        """Declare the log of the standard deviation."""
        return {"log_sd": constant(0, genes, 1)}

    def read(self, batch: Batch) -> Tensor:
        """Return the numbers themselves."""
        return batch.counts

    def training_loss(self, stack: Stack, batch: Batch, out: Tensor) -> Tensor:
        """Return the density: nothing is cheaper."""
        return self.loss(stack, batch, out)

    def loss(self, stack: Stack, batch: Batch, out: Tensor) -> Tensor:
        """Return -log N(x; out, sd²)."""
        return -(self.varying(stack, batch, out) + self.constant(stack, batch).to(out.dtype))

    def varying(self, stack: Stack, batch: Batch, out: Tensor) -> Tensor:
        """Return minus half the squared distance in standard deviations."""
        return -0.5 * (((batch.counts - out) * (-_log_sd(stack)).exp()) ** 2).sum(1)

    def constant(self, stack: Stack, batch: Batch) -> Tensor:
        """Return the log of the normaliser, the same for all cells of a member."""
        log_sd = _log_sd(stack).double()
        per_member = -log_sd.sum(1) - 0.5 * math.log(2 * math.pi) * log_sd.shape[1]
        return per_member.expand(len(batch.counts), len(batch))


def _log_sd(stack: Stack) -> Tensor:
    return stack.p["log_sd"].clamp(min=SMALLEST_LOG_SD)


OBSERVATIONS: dict[str, Observation] = {"counts": NegativeBinomial(), "normal": Normal()}
"""By what a data file says it holds (`scident.contracts.observation`)."""
