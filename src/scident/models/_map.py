"""The best anyone could do: the most probable latents of each cell under the true generative process."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

Expected = Callable[
    [Mapping[str, Any], Float[np.ndarray, "cells factors"]],
    tuple[Float[np.ndarray, "cells genes"], Float[np.ndarray, "cells genes factors"]],
]
"""``expected`` of a simulator: Poisson means and their Jacobian given the factors."""

CHUNK = 512
"""Cells solved together; their Jacobians (cells × genes × factors) should stay in the processor's cache."""
TINY = 1e-12
"""Added to means, counts, so that a mean of 0 has a logarithm."""


def map_latents(
    counts: Float[np.ndarray, "cells genes"],
    world: Mapping[str, Any],
    expected: Expected,
    centres: Float[np.ndarray, "components factors"],
    start: Float[np.ndarray, "cells factors"],
    steps: int = 12,
) -> Float[np.ndarray, "cells factors"]:
    r"""Maximise the posterior of each cell's latents by damped Gauss–Newton steps.

    .. math:: \log p(z \mid x) = \sum_g \log \mathrm{Poisson}(x_g; m_g(z)) + \log \sum_k N(z; c_k, I) + \text{const}

    The curvature of the likelihood is its Fisher information :math:`J^\top \mathrm{diag}(1/m) J`; that of the prior is
    bounded by I (its value when one component has all the responsibility), so each step goes downhill once damped.

    Parameters
    ----------
    counts
        Observed counts, dense.
    world, expected
        The true process, as the simulator keeps it, and the simulator's function of the same name.
    centres
        Prior means, one per training perturbation, equally likely: a cell's own label is not used.
    start
        Where to start, the true latents.
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
        found[rows] = _solve(np.asarray(counts[rows], dtype=np.float64), world, expected, centres, found[rows], steps)
    return found


def negative_log_posterior(
    counts: Float[np.ndarray, "cells genes"],
    mean: Float[np.ndarray, "cells genes"],
    centres: Float[np.ndarray, "components factors"],
    z: Float[np.ndarray, "cells factors"],
) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, "cells factors"]]:
    """Return minus the log posterior up to a constant (nats per cell) and the gradient of its prior part."""
    logs = z @ centres.T - 0.5 * (centres**2).sum(axis=1)
    top = logs.max(axis=1, keepdims=True)
    weights = np.exp(logs - top)
    total = weights.sum(axis=1, keepdims=True)
    prior = 0.5 * (z**2).sum(axis=1) - top[:, 0] - np.log(total[:, 0])
    fit = mean.sum(axis=1) - np.einsum("ng,ng->n", counts, np.log(mean + TINY))
    return fit + prior, z - (weights / total) @ centres


def _solve(
    counts: Float[np.ndarray, "cells genes"],
    world: Mapping[str, Any],
    expected: Expected,
    centres: Float[np.ndarray, "components factors"],
    z: Float[np.ndarray, "cells factors"],
    steps: int,
) -> Float[np.ndarray, "cells factors"]:
    z = z.copy()
    damping = np.full(len(z), 1e-3)
    loss, gradient, curvature = _model(counts, world, expected, centres, z)
    for _ in range(steps):
        damped = curvature + damping[:, None, None] * np.eye(z.shape[1])
        trial = z - np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
        new_loss, new_gradient, new_curvature = _model(counts, world, expected, centres, trial)
        better = new_loss < loss
        z[better], loss[better] = trial[better], new_loss[better]
        gradient[better], curvature[better] = new_gradient[better], new_curvature[better]
        # curvatures are 1 (prior) to hundreds (counts): ten times more damping soon turns a step into a short descent
        damping = np.where(better, damping / 5, np.maximum(damping, 0.1) * 10)
    return z


def _model(
    counts: Float[np.ndarray, "cells genes"],
    world: Mapping[str, Any],
    expected: Expected,
    centres: Float[np.ndarray, "components factors"],
    z: Float[np.ndarray, "cells factors"],
) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, "cells factors"], Float[np.ndarray, "cells factors factors"]]:
    mean, jacobian = expected(world, z)
    loss, pull = negative_log_posterior(counts, mean, centres, z)
    across = jacobian.transpose(0, 2, 1)  # contiguous for simulators that differentiate forward
    gradient = np.matmul(across, (1 - counts / (mean + TINY))[:, :, None])[:, :, 0] + pull
    weighted = across / (mean + TINY)[:, None, :]
    return loss, gradient, np.matmul(weighted, jacobian) + np.eye(z.shape[1])
