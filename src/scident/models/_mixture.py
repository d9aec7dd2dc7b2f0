"""A mixture of Gaussians as the prior of latents: what one knows of a cell whose label one does not know."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Mixture:
    """Equally likely Gaussians with independent coordinates."""

    mean: Float[np.ndarray, "components factors"]
    sd: Float[np.ndarray, "components factors"]

    @classmethod
    def of_unit_sd(cls, mean: Float[np.ndarray, "components factors"]) -> "Mixture":
        """Return components that differ in their means alone."""
        return cls(mean, np.ones_like(mean))

    def loss(
        self, z: Float[np.ndarray, "cells factors"]
    ) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, "cells factors"], Float[np.ndarray, "cells factors"]]:
        """Return minus the log density up to a constant (nats), its gradient, and a bound of its curvature.

        The bound is diagonal: the components' precisions weighted by their responsibilities, which is the curvature
        where one component has all of it. Everything is relative to N(0, I), so unit variances cost no precision.
        """
        excess = self.sd**-2 - 1
        pull = self.mean * self.sd**-2
        logs = z @ pull.T - 0.5 * (self.mean * pull).sum(axis=1)
        logs -= np.log(self.sd).sum(axis=1) + 0.5 * z**2 @ excess.T
        top = logs.max(axis=1, keepdims=True)
        weights = np.exp(logs - top)
        total = weights.sum(axis=1, keepdims=True)
        share = weights / total
        value = 0.5 * (z**2).sum(axis=1) - top[:, 0] - np.log(total[:, 0])
        return value, z + z * (share @ excess) - share @ pull, 1 + share @ excess
