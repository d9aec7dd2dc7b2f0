"""The best anyone could do: the most probable latents of each cell under the true generative process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from scident.models._mixture import Mixture
from scident.models._noise import noise_of

Expected = Callable[
    [Mapping[str, Any], Float[np.ndarray, "cells factors"]],
    tuple[Float[np.ndarray, "cells genes"], Float[np.ndarray, "cells genes factors"]],
]
"""``expected`` of a simulator: means and their Jacobian given the factors."""

CHUNK = 512
"""Cells solved together; their Jacobians (cells × genes × factors) should stay in the processor's cache."""


@dataclass(frozen=True)
class Process:
    """How latents and expression came about."""

    world: Mapping[str, Any]
    """As the simulator keeps it."""
    expected: Expected
    """The simulator's function of that name."""
    prior: Mixture

    def posterior(
        self,
        x: Float[np.ndarray, "cells genes"],
        z: Float[np.ndarray, "cells factors"],
        size: Float[np.ndarray, "cells 1"] | None = None,
    ) -> tuple[
        Float[np.ndarray, " cells"], Float[np.ndarray, "cells factors"], Float[np.ndarray, "cells factors factors"]
    ]:
        r"""Return minus the log posterior up to a constant (nats per cell), its gradient and a bound of its curvature.

        .. math:: -\log p(z \mid x) = -\sum_g \log p(x_g; s\,m_g(z)) - \log \sum_k N(z; c_k, S_k^2) + \text{const}

        The curvature of the likelihood is its Fisher information :math:`J^\top \mathrm{diag}(1/v) J`, with the
        variances v of expression given z.

        Parameters
        ----------
        x
            Expression, dense.
        z
            Latents, in the simulator's units.
        size
            Factors of the means, one per cell; None: all 1.
        """
        noise = noise_of(self.world)
        mean, jacobian = self.expected(self.world, z)
        if size is not None:
            mean, jacobian = mean * size, jacobian * size[:, :, None]
        loss, pull, curvature = self.prior.loss(z)
        across = jacobian.transpose(0, 2, 1)  # contiguous for simulators that differentiate forward
        gradient = np.matmul(across, noise.slope(x, mean)[:, :, None])[:, :, 0] + pull
        weighted = across / noise.variance(mean)[:, None, :]
        return noise.loss(x, mean) + loss, gradient, np.matmul(weighted, jacobian) + _diagonal(curvature)


def map_latents(
    x: Float[np.ndarray, "cells genes"],
    process: Process,
    start: Float[np.ndarray, "cells factors"],
    size: Float[np.ndarray, "cells 1"] | None = None,
    steps: int = 12,
) -> Float[np.ndarray, "cells factors"]:
    """Maximise the posterior of each cell's latents by damped Gauss–Newton steps.

    The curvature used is never below the true one of the prior and near that of the likelihood, so each step goes
    downhill once damped.

    Parameters
    ----------
    x
        Expression, dense.
    process
        The true one. Its prior should not know the label of a cell: components are conditions of training cells.
    start
        Where to start, the true latents.
    size
        Factors of the means, one per cell; None: all 1.
    steps
        Trial steps per cell; a step that does not improve is undone and the damping raised.

    Returns
    -------
    Latents in the simulator's units.

    References
    ----------
    Levenberg (1944), A method for the solution of certain non-linear problems in least squares.
    """
    found = np.array(start, dtype=np.float64)
    for first in range(0, len(found), CHUNK):
        rows = slice(first, first + CHUNK)
        own = None if size is None else size[rows]
        found[rows] = _solve(np.asarray(x[rows], dtype=np.float64), process, found[rows], own, steps)
    return found


def _solve(
    x: Float[np.ndarray, "cells genes"],
    process: Process,
    z: Float[np.ndarray, "cells factors"],
    size: Float[np.ndarray, "cells 1"] | None,
    steps: int,
) -> Float[np.ndarray, "cells factors"]:
    z = z.copy()
    damping = np.full(len(z), 1e-3)
    loss, gradient, curvature = process.posterior(x, z, size)
    for _ in range(steps):
        damped = curvature + damping[:, None, None] * np.eye(z.shape[1])
        trial = z - np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
        new_loss, new_gradient, new_curvature = process.posterior(x, trial, size)
        better = new_loss < loss
        z[better], loss[better] = trial[better], new_loss[better]
        gradient[better], curvature[better] = new_gradient[better], new_curvature[better]
        # curvatures are 1 (prior) to hundreds (counts): ten times more damping soon turns a step into a short descent
        damping = np.where(better, damping / 5, np.maximum(damping, 0.1) * 10)
    return z


def _diagonal(values: Float[np.ndarray, "cells factors"]) -> Float[np.ndarray, "cells factors factors"]:
    matrix: Float[np.ndarray, "cells factors factors"] = values[:, :, None] * np.eye(values.shape[1])
    return matrix
