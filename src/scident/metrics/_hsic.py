"""Hilbert-Schmidt independence criterion: kernels, statistic, and its null by permutation."""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import pdist, squareform

Kernel = Float[np.ndarray, "cells cells"]

BATCH = 2_000_000
"""Most entries of the permuted label matrix at once: 8 MB."""


def gaussian(values: Float[np.ndarray, "cells columns"]) -> Kernel:
    """Return exp(-|a - b|² / m) of all pairs, m the median squared distance of pairs that differ."""
    squared = pdist(values, "sqeuclidean")
    apart = squared[squared > 0]
    return np.asarray(squareform(np.expm1(-squared / (np.median(apart) if len(apart) else 1.0))) + 1.0)


def delta(label: Int[np.ndarray, " cells"]) -> Kernel:
    """Return 1 for pairs of one label and 0 for all others."""
    return np.asarray((label[:, None] == label[None, :]).astype(np.float64))


def centred(kernel: Kernel) -> Kernel:
    """Return the kernel matrix of features whose mean over the cells is 0."""
    mean = kernel.mean(axis=0)
    return np.asarray(kernel - mean[:, None] - mean[None, :] + mean.mean())


def hsic(k: Kernel, m: Kernel) -> float:
    r"""Return the biased estimate :math:`\mathrm{tr}(K H L H) / n^2` of two centred kernel matrices.

    References
    ----------
    Gretton, Bousquet, Smola & Schölkopf (2005), Measuring Statistical Dependence with Hilbert-Schmidt Norms, ALT;
    Gretton et al. (2007), A Kernel Statistical Test of Independence, NIPS.
    """
    return float(np.vdot(k, m)) / len(k) ** 2


def null(k: Kernel, m: Kernel, permutations: Int[np.ndarray, "draws cells"]) -> Float[np.ndarray, " draws"]:
    """Return HSIC with the cells of `m` permuted, in single precision."""
    k, m = k.astype(np.float32), m.astype(np.float32)
    values = [np.vdot(k, m.take(order, axis=0).take(order, axis=1)) for order in permutations]
    return np.asarray(values, dtype=np.float64) / len(k) ** 2


def null_of_labels(
    k: Kernel, label: Int[np.ndarray, " cells"], permutations: Int[np.ndarray, "draws cells"]
) -> Float[np.ndarray, " draws"]:
    """Return what `null` gives for the delta kernel of labels, by one product of matrices: tr(K Y Y') of one-hot Y."""
    k, levels = k.astype(np.float32), np.eye(label.max() + 1, dtype=np.float32)
    step = max(1, BATCH // (len(k) * len(levels)))
    values = []
    for start in range(0, len(permutations), step):
        shown = levels[label[permutations[start : start + step].T]]
        product = (k @ shown.reshape(len(k), -1)).reshape(shown.shape)
        values.append(np.einsum("cbl,cbl->b", product, shown))
    return np.concatenate(values).astype(np.float64) / len(k) ** 2
