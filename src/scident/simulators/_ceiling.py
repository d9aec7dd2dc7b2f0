"""How well latents could be told from one cell's expression at best, at the price of one linear solve per cell."""

import numpy as np
from jaxtyping import Float, Int


def laplace_correlation(
    z: Float[np.ndarray, "cells factors"],
    x: Float[np.ndarray, "cells genes"],
    mean: Float[np.ndarray, "cells genes"],
    jacobian: Float[np.ndarray, "cells genes factors"],
    variance: Float[np.ndarray, "cells genes"],
    prior: tuple[Float[np.ndarray, "cells factors"], Float[np.ndarray, "cells factors"]],
    condition: Int[np.ndarray, " cells"],
) -> Float[np.ndarray, " factors"]:
    r"""Correlate true latents with their Laplace estimates, both standardised within each condition.

    The estimate is one Gauss-Newton step from the truth towards the most probable latents,
    :math:`\hat z = z + (J^\top V^{-1} J + S^{-2})^{-1} (J^\top V^{-1} (x - \mu) - S^{-2} (z - m))`.

    Parameters
    ----------
    z, x
        True latents and expression of some cells.
    mean, jacobian, variance
        Of the expression given the latents: its mean, the mean's derivatives, its variance.
    prior
        Mean and standard deviation of the Gaussian each cell's latents come from.
    condition
        Code of each cell's condition.

    Returns
    -------
    One correlation per latent.
    """
    centre, sd = prior
    across = (jacobian / variance[:, :, None]).transpose(0, 2, 1)
    curvature = np.matmul(across, jacobian)
    diagonal = np.arange(z.shape[1])
    curvature[:, diagonal, diagonal] += sd**-2
    pull = np.matmul(across, (x - mean)[:, :, None])[:, :, 0] - (z - centre) / sd**2
    estimate = z + np.linalg.solve(curvature, pull[:, :, None])[:, :, 0]
    true, found = (_standardised(a, condition) for a in (z, estimate))
    correlation: Float[np.ndarray, " factors"] = (true * found).mean(0)
    return correlation


def _standardised(
    values: Float[np.ndarray, "cells factors"], condition: Int[np.ndarray, " cells"]
) -> Float[np.ndarray, "cells factors"]:
    out = np.empty_like(values)
    for rows in (condition == one for one in np.unique(condition)):
        out[rows] = (values[rows] - values[rows].mean(0)) / values[rows].std(0)
    return out
