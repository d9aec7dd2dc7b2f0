"""Matching estimated latents to true ones: correlations, dead columns, the best one-to-one assignment, its score."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from scident.metrics import _cells
from scident.metrics.base import Inputs

Columns = Float[np.ndarray, "cells columns"]


def dead(z: Columns) -> Bool[np.ndarray, " columns"]:
    """Return which columns do not vary: sd below 1e-12, or below 1e-8 of the largest sd."""
    sd = z.std(axis=0)
    return np.asarray(sd < max(1e-8 * sd.max(initial=0.0), 1e-12))


def correlations(
    a: Float[np.ndarray, "cells factors"], b: Float[np.ndarray, "cells latents"]
) -> Float[np.ndarray, "factors latents"]:
    """Return the Pearson correlation of every column of `a` with every column of `b`; 0 for constant columns."""
    left, right = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.linalg.norm(left, axis=0)[:, None] * np.linalg.norm(right, axis=0)[None, :]
    return np.asarray(np.divide(left.T @ right, norm, out=np.zeros_like(norm), where=norm > 0))


@dataclass(frozen=True)
class Matching:
    """Which estimated latent stands for each true one."""

    partner: Int[np.ndarray, " factors"]
    """Column of the estimated latent, -1 for a factor without one."""
    sign: Float[np.ndarray, " factors"]
    """Sign of the correlation on the cells matched on."""
    n_dead: int
    """Estimated latents that do not vary and so match nothing."""


def match(
    factors: Float[np.ndarray, "cells factors"],
    z: Float[np.ndarray, "cells latents"],
    *,
    ranks: bool = False,
    signed: bool = False,
) -> Matching:
    """Match each factor to at most one latent so that the summed correlation is largest.

    Parameters
    ----------
    factors, z
        True and estimated latents of the same cells, any unit; their numbers may differ.
    ranks
        Correlate ranks (Spearman) instead of values (Pearson).
    signed
        Maximise the correlation itself, as published code does, instead of its absolute value.

    References
    ----------
    Hyvärinen & Morioka (2016), Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear ICA.
    """
    idle = dead(z)
    found = correlations(rankdata(factors, axis=0), rankdata(z, axis=0)) if ranks else correlations(factors, z)
    found[:, idle] = 0.0
    rows, columns = linear_sum_assignment(found if signed else np.abs(found), maximize=True)
    partner = np.full(factors.shape[1], -1, dtype=np.int64)
    partner[rows] = np.where(idle[columns], -1, columns)
    sign = np.zeros(factors.shape[1])
    sign[rows] = np.sign(found[rows, columns])
    return Matching(partner, sign, int(idle.sum()))


def _weighted_ranks(
    column: Float[np.ndarray, " cells"], weights: Float[np.ndarray, "draws cells"]
) -> Float[np.ndarray, "draws cells"]:
    """Return the mean rank of each cell when cell c is present ``weights[:, c]`` times."""
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    tied = np.add.reduceat(weights[:, order], starts, axis=1)
    rank = np.cumsum(tied, axis=1) - (tied - 1) / 2
    spread = np.empty_like(weights)
    spread[:, order] = np.repeat(rank, np.diff(np.r_[starts, len(ordered)]), axis=1)
    return spread


def weighted_correlation(
    a: Float[np.ndarray, " cells"],
    b: Float[np.ndarray, " cells"],
    weights: Float[np.ndarray, "draws cells"],
    *,
    ranks: bool,
) -> Float[np.ndarray, " draws"]:
    """Return the correlation of two columns under every row of whole-number weights; 0 where one is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.zeros(len(weights))
    if ranks:
        left, right = _weighted_ranks(a, weights), _weighted_ranks(b, weights)
    else:
        left, right = a[None, :], b[None, :]
    total = weights.sum(axis=1, keepdims=True)
    left = left - (weights * left).sum(axis=1, keepdims=True) / total
    right = right - (weights * right).sum(axis=1, keepdims=True) / total
    norm = np.sqrt((weights * left**2).sum(axis=1) * (weights * right**2).sum(axis=1))
    shared = (weights * left * right).sum(axis=1)
    return np.asarray(np.divide(shared, norm, out=np.zeros(len(weights)), where=norm > 0))


@dataclass(frozen=True)
class Pairs:
    """Two sets of columns on the cells to learn on and on the cells to score."""

    factors_fit: Float[np.ndarray, "fit factors"]
    factors_score: Float[np.ndarray, "score factors"]
    z_fit: Float[np.ndarray, "fit latents"]
    z_score: Float[np.ndarray, "score latents"]

    def varying(self) -> tuple["Pairs", int]:
        """Return the pairs without the factors that are constant on either set of cells, and how many those were."""
        constant = dead(self.factors_fit) | dead(self.factors_score)
        kept = Pairs(self.factors_fit[:, ~constant], self.factors_score[:, ~constant], self.z_fit, self.z_score)
        return kept, int(constant.sum())


def within(inputs: Inputs, pairs: Pairs, *, scale: bool = False) -> Pairs:
    """Return `pairs` minus the mean of each large enough condition, estimated on either set of cells by itself.

    With `scale` residuals are divided by the sd of their condition too.
    """
    condition = _cells.conditions(inputs)
    fit, scored = condition[inputs.fit], condition[inputs.score]
    keep_fit, keep_score = _cells.kept(inputs)
    return Pairs(
        _cells.residuals(pairs.factors_fit[keep_fit], fit[keep_fit], scale=scale),
        _cells.residuals(pairs.factors_score[keep_score], scored[keep_score], scale=scale),
        _cells.residuals(pairs.z_fit[keep_fit], fit[keep_fit], scale=scale),
        _cells.residuals(pairs.z_score[keep_score], scored[keep_score], scale=scale),
    )


@dataclass(frozen=True)
class MCC:
    """A mean correlation coefficient."""

    value: float
    se: float | None
    note: str


def mcc(
    pairs: Pairs,
    rng: np.random.Generator,
    *,
    ranks: bool = False,
    insample: bool = False,
    draws: int = _cells.DRAWS,
) -> MCC:
    r"""Mean correlation after the best one-to-one matching of latents to factors.

    .. math:: \mathrm{MCC} = \frac{1}{d} \sum_i \max(0, \sigma_i \mathrm{corr}_V(z_i, \hat z_{\pi(i)}))

    The assignment :math:`\pi` and the signs :math:`\sigma` come from the cells to learn on, the correlation from the
    cells to score; a factor without a partner contributes 0, and so does everything if no factor varies.

    Parameters
    ----------
    pairs
        True and estimated latents, any unit.
    rng
        Draws the cell bootstrap of the standard error; the assignment stays as it is.
    ranks
        Spearman instead of Pearson.
    insample
        Legacy: the absolute correlation, as published code reports where both sets of cells are the same.

    draws
        Bootstrap draws; 0 for no standard error.

    Returns
    -------
    Value in [0, 1], standard error over the draws, and a note on what was left out.

    References
    ----------
    Hyvärinen & Morioka (2016), Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear ICA;
    Khemakhem et al. (2020), Variational Autoencoders and Nonlinear ICA.
    """
    pairs, n_constant = pairs.varying()
    n_factors, n_latents = pairs.factors_fit.shape[1], pairs.z_fit.shape[1]
    matching = match(pairs.factors_fit, pairs.z_fit, ranks=ranks)
    weights = _cells.bootstrap_weights(len(pairs.z_score), rng, draws)
    total = np.zeros(len(weights))
    for factor, (latent, sign) in enumerate(zip(matching.partner, matching.sign, strict=True)):
        if latent < 0:
            continue
        found = weighted_correlation(pairs.factors_score[:, factor], pairs.z_score[:, latent], weights, ranks=ranks)
        total += np.abs(found) if insample else np.maximum(0.0, sign * found)
    values = np.minimum(total / max(n_factors, 1), 1.0)  # rounding may lift a perfect correlation above 1
    se = float(values[1:].std(ddof=1)) if draws else None
    return MCC(float(values[0]), se, describe(n_latents, n_factors, matching, n_constant))


def describe(n_latents: int, n_factors: int, matching: Matching, n_constant: int) -> str:
    """Return what a reader must know about a matching that is not one to one."""
    said = [f"n_latents={n_latents}, n_factors={n_factors}"] if n_latents != n_factors or n_constant else []
    said += [f"n_dead={matching.n_dead}"] if matching.n_dead else []
    said += [describe_constant(n_constant)] if n_constant else []
    return ", ".join(said)


def describe_constant(n_constant: int) -> str:
    """Return how many true latents do not vary and were left out, if any."""
    return f"n_true_const={n_constant}" if n_constant else ""
