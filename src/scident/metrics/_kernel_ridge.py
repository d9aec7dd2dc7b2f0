"""Kernel ridge regression of many targets at once, its ridge chosen by cross-validation in closed form."""

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import lapack, solve, solve_triangular
from scipy.spatial.distance import cdist, pdist

from scident.metrics import _ridge

RIDGES = np.logspace(-4, 1, 6)
"""Added to the diagonal of the kernel matrix, one decade apart."""

EXACT = 1e-10
"""Pivots of the kernel matrix, whose diagonal is 1, below this are left out: far below the smallest ridge."""


def predict(
    x: Float[np.ndarray, "fit inputs"],
    y: Float[np.ndarray, "fit targets"],
    x_new: Float[np.ndarray, "score inputs"],
    group: Int[np.ndarray, " targets"],
    fold: Int[np.ndarray, " fit"],
) -> Float[np.ndarray, "score targets"]:
    r"""Predict targets of new cells by kernel ridge regression with intercept.

    .. math:: \hat y(x) = \bar y + k(x)^\top (K + \lambda I)^{-1} (y - \bar y),
              \quad k(a, b) = \exp(-\lVert a - b \rVert^2 / 2h^2)

    with :math:`h` the median pairwise distance of the cells to learn on.

    Parameters
    ----------
    x, x_new
        Inputs to learn on and to predict from, in units in which distances mean something.
    y
        Targets, any unit.
    group
        Targets of one group share a ridge, the one whose cross-validated R² is largest in the mean over the group.
    fold
        Fold of each cell to learn on.

    References
    ----------
    Saunders, Gammerman & Vovk (1998), Ridge Regression Learning Algorithm in Dual Variables, ICML. Errors of left-out
    folds from the fit to all cells: An, Liu & Venkatesh (2007), Pattern Recognition 40.
    """
    centre = y.mean(axis=0)
    width = float(np.median(pdist(x)))
    if width == 0:
        return np.broadcast_to(centre, (len(x_new), y.shape[1])).copy()
    factor, pivots = _factor(_kernel(x, x, width))
    values, vectors = np.linalg.eigh(factor.T @ factor)
    values, basis = np.maximum(values, 0.0), factor @ vectors
    projected = basis.T @ (y - centre)
    ridge = _choose(basis, values, y - centre, group, fold)
    corner = factor[pivots]
    features = solve_triangular(corner, _kernel(x[pivots], x_new, width), lower=True).T @ vectors
    return np.asarray(centre + features @ (projected / (values[:, None] + ridge[None, :])))


def _kernel(
    a: Float[np.ndarray, "left inputs"], b: Float[np.ndarray, "right inputs"], width: float
) -> Float[np.ndarray, "left right"]:
    return np.asarray(np.exp(cdist(a, b, "sqeuclidean") / (-2 * width**2)))


def _factor(
    kernel: Float[np.ndarray, "cells cells"],
) -> tuple[Float[np.ndarray, "cells rank"], Int[np.ndarray, " rank"]]:
    """Return a factor of a kernel matrix, one row per cell, and the cells whose rows are its triangular corner."""
    packed, order, rank, _ = lapack.dpstrf(kernel, tol=EXACT, lower=1)
    factor = np.empty((len(kernel), rank))
    factor[order - 1] = np.tril(packed[:, :rank])
    return factor, order[:rank].astype(np.int64) - 1


def _choose(
    basis: Float[np.ndarray, "cells rank"],
    values: Float[np.ndarray, " rank"],
    y: Float[np.ndarray, "cells targets"],
    group: Int[np.ndarray, " targets"],
    fold: Int[np.ndarray, " cells"],
) -> Float[np.ndarray, " targets"]:
    r"""Return the best ridge of each target from one decomposition.

    A linear smoother with matrix :math:`H` that has never seen fold :math:`S` errs there by
    :math:`(I - H_{SS})^{-1} (y - H y)_S`, exactly.
    """
    projected, spread = basis.T @ y, np.maximum((y**2).sum(axis=0), 1e-300)
    quality = np.empty((len(RIDGES), y.shape[1]))
    for number, ridge in enumerate(RIDGES):
        shrunk = basis / (values + ridge)
        error = y - shrunk @ projected
        lost = np.zeros(y.shape[1])
        for left_out in range(_ridge.FOLDS):
            inside = fold == left_out
            hat = shrunk[inside] @ basis[inside].T
            lost += (solve(np.eye(len(hat)) - hat, error[inside], assume_a="pos") ** 2).sum(axis=0)
        quality[number] = 1.0 - lost / spread
    chosen = np.empty(y.shape[1])
    for one in np.unique(group):
        chosen[group == one] = RIDGES[quality[:, group == one].mean(axis=1).argmax()]
    return chosen
