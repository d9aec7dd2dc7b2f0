"""Leading principal components of log-normalised expression, each of unit variance on the training cells."""

from collections.abc import Mapping

import anndata as ad
import numpy as np
from jaxtyping import Float

from scident.engine.batches import chunks
from scident.engine.stack import Initial, constant
from scident.expression import log_normalised

CHUNK = 4096

SMALLEST_SD = 1e-6
"""Standard deviations are at least this share of the largest."""

MEAN, COMPONENTS, SD, REST = (f"whitening.{name}" for name in ("mean", "components", "sd", "rest"))


def buffers(n_genes: int, n_components: int) -> dict[str, Initial]:
    """Declare what `fit` finds."""
    shapes = {MEAN: (n_genes, 1), COMPONENTS: (n_components, n_genes), SD: (n_components, 1), REST: ()}
    return {name: constant(0, *shape) for name, shape in shapes.items()}


def fit(train: ad.AnnData, n_components: int) -> dict[str, np.ndarray]:
    """Return mean, components, standard deviations and the variance left over, of log-normalised expression.

    Parameters
    ----------
    train
        Training cells.
    n_components
        At most the number of genes.

    Returns
    -------
    ``whitening.mean`` [genes, 1]; ``whitening.components``, orthonormal rows [components, genes] of which the largest
    entry is positive; ``whitening.sd`` of their scores, [components, 1]; ``whitening.rest``, the mean variance of a
    direction orthogonal to them.
    """
    total, square = np.zeros(train.n_vars), np.zeros((train.n_vars, train.n_vars))
    for start, stop in chunks(train.n_obs, CHUNK):
        y = log_normalised(train[start:stop])
        total += y.sum(0)
        square += y.T @ y
    mean = total / train.n_obs
    variances, vectors = np.linalg.eigh(square / train.n_obs - np.outer(mean, mean))
    variances, vectors = variances[::-1].clip(min=0), vectors[:, ::-1]
    components = vectors[:, :n_components].T
    largest = np.abs(components).argmax(1)
    components = components * np.sign(components[np.arange(n_components), largest])[:, None]
    sd = np.sqrt(variances[:n_components])
    rest = variances[n_components:]
    return {
        MEAN: mean[:, None],
        COMPONENTS: components,
        SD: np.maximum(sd, SMALLEST_SD * sd[0])[:, None],
        REST: np.array(max(float(rest.mean()) if len(rest) else 0.0, (SMALLEST_SD * float(sd[0])) ** 2)),
    }


def scores(
    cells: ad.AnnData, found: Mapping[str, np.ndarray]
) -> tuple[Float[np.ndarray, "cells components"], Float[np.ndarray, " cells"]]:
    """Return scores of unit variance, and the squared length of what they leave of the expression of each cell."""
    parts, left = [], []
    for start, stop in chunks(cells.n_obs, CHUNK):
        y = log_normalised(cells[start:stop]) - found[MEAN].T
        raw = y @ found[COMPONENTS].T
        parts.append(raw / found[SD].T)
        left.append((y**2).sum(1) - (raw**2).sum(1))
    return np.concatenate(parts), np.concatenate(left).clip(min=0)


def log_volume(
    left: Float[np.ndarray, " cells"], found: Mapping[str, np.ndarray], n_genes: int
) -> Float[np.ndarray, " cells"]:
    """Return what makes a log-density of the scores one of expression, nats.

    The directions that the scores leave out are independent normal with one variance (Tipping & Bishop 1999).

    Parameters
    ----------
    left
        Second result of `scores`.
    found
        What `fit` returned.
    n_genes
        Number of genes.
    """
    rest, directions = float(found[REST]), n_genes - len(found[SD])
    quadratic = left / rest if directions else 0 * left
    volume: np.ndarray = -0.5 * (directions * np.log(2 * np.pi * rest) + quadratic) - np.log(found[SD]).sum()
    return volume


def expression_of(
    scores: Float[np.ndarray, "cells components"], found: Mapping[str, np.ndarray]
) -> Float[np.ndarray, "cells genes"]:
    """Return the log-normalised expression that has some scores, nothing left over."""
    expression: np.ndarray = (scores * found[SD].T) @ found[COMPONENTS] + found[MEAN].T
    return expression
