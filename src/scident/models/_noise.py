"""How expression scatters around its mean, as the oracle must know it.

Each law gives its loss (minus the log-likelihood up to a constant, nats per cell), the derivative of the loss with
respect to the means, and the variance, which is the inverse of the Fisher information of the means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from scident.errors import ScidentError

TINY = 1e-12
"""Added to means of counts, so that a mean of 0 has a logarithm."""

Expression = Float[np.ndarray, "cells genes"]


class Poisson:
    """Counts without overdispersion."""

    def loss(self, x: Expression, mean: Expression) -> Float[np.ndarray, " cells"]:
        """Return the sum over genes of m - x log m."""
        fit: Float[np.ndarray, " cells"] = mean.sum(axis=1) - np.einsum("ng,ng->n", x, np.log(mean + TINY))
        return fit

    def slope(self, x: Expression, mean: Expression) -> Expression:
        """Return 1 - x / m."""
        return 1 - x / (mean + TINY)

    def variance(self, mean: Expression) -> Expression:
        """Return the mean."""
        return mean + TINY


@dataclass(frozen=True)
class Normal:
    """Real numbers with the same standard deviation for all genes."""

    sd: float

    def loss(self, x: Expression, mean: Expression) -> Float[np.ndarray, " cells"]:
        """Return half the sum over genes of squared standardised residuals."""
        fit: Float[np.ndarray, " cells"] = 0.5 * (((x - mean) / self.sd) ** 2).sum(axis=1)
        return fit

    def slope(self, x: Expression, mean: Expression) -> Expression:
        """Return (m - x) / sd²."""
        slope: Expression = (mean - x) / self.sd**2
        return slope

    def variance(self, mean: Expression) -> Expression:
        """Return sd²."""
        return np.full(mean.shape, self.sd**2)


@dataclass(frozen=True)
class NegativeBinomial:
    """Counts whose variance is m + m²/θ."""

    theta: float

    def loss(self, x: Expression, mean: Expression) -> Float[np.ndarray, " cells"]:
        """Return the sum over genes of (x + θ) log(m + θ) - x log m."""
        per_gene = (x + self.theta) * np.log(mean + self.theta) - x * np.log(mean + TINY)
        fit: Float[np.ndarray, " cells"] = per_gene.sum(axis=1)
        return fit

    def slope(self, x: Expression, mean: Expression) -> Expression:
        """Return (m - x) / (m + m²/θ)."""
        slope: Expression = (mean - x) / self.variance(mean)
        return slope

    def variance(self, mean: Expression) -> Expression:
        """Return m + m²/θ."""
        return mean + mean**2 / self.theta + TINY


Noise = Poisson | Normal | NegativeBinomial


def noise_of(world: Mapping[str, Any]) -> Noise:
    """Return the observation model of a simulated world, Poisson where it names none."""
    match str(world.get("noise", "poisson")):
        case "poisson":
            return Poisson()
        case "normal":
            return Normal(float(world["noise_sd"]))
        case "negative_binomial":
            return NegativeBinomial(float(world["theta"]))
        case other:
            raise ScidentError(f"the world's noise must be poisson, normal or negative_binomial, found {other!r}")
