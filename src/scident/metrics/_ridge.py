"""Ridge regression of many targets at once, its penalty chosen by cross-validation in closed form."""

import numpy as np
from jaxtyping import Float, Int

PENALTIES = np.logspace(-3, 3, 13)
"""Penalties on the squared coefficients of standardised inputs, half a decade apart."""

FOLDS = 5


def standardise(
    fit: Float[np.ndarray, "fit columns"], other: Float[np.ndarray, "score columns"]
) -> tuple[Float[np.ndarray, "fit columns"], Float[np.ndarray, "score columns"]]:
    """Give `fit` columns mean 0 and sd 1 and treat `other` alike; columns that do not vary become 0."""
    centre, sd = fit.mean(axis=0), fit.std(axis=0)
    dead = sd < max(1e-8 * sd.max(initial=0.0), 1e-12)
    scale = np.where(dead, 0.0, 1.0 / np.where(dead, 1.0, sd))
    return (fit - centre) * scale, (other - centre) * scale


def folds(cells: int, rng: np.random.Generator) -> Int[np.ndarray, " cells"]:
    """Return the fold of each cell: equal sizes up to one, drawn because files are sorted by condition."""
    return rng.permutation(np.arange(cells) % FOLDS)


def _coefficients(
    x: Float[np.ndarray, "cells latents"],
    y: Float[np.ndarray, "cells factors"],
    penalties: Float[np.ndarray, " penalties"],
) -> Float[np.ndarray, "penalties latents factors"]:
    """Coefficients of centred data for every penalty, from one eigendecomposition."""
    values, vectors = np.linalg.eigh(x.T @ x)
    shrunk = 1.0 / (np.maximum(values, 0.0)[None, :] + penalties[:, None])
    projected = vectors.T @ (x.T @ y)
    return np.asarray(vectors @ (shrunk[:, :, None] * projected[None, :, :]))


def choose_penalty(
    x: Float[np.ndarray, "cells latents"], y: Float[np.ndarray, "cells factors"], fold: Int[np.ndarray, " cells"]
) -> float:
    """Return the penalty with the largest R², averaged over targets, then over folds (the smallest one on a tie)."""
    quality = np.zeros(len(PENALTIES))
    for left_out in range(FOLDS):
        learn, check = fold != left_out, fold == left_out
        x_mean, y_mean = x[learn].mean(axis=0), y[learn].mean(axis=0)
        weights = _coefficients(x[learn] - x_mean, y[learn] - y_mean, PENALTIES)
        error = (y[check] - y_mean)[None] - (x[check] - x_mean) @ weights
        spread = ((y[check] - y[check].mean(axis=0)) ** 2).sum(axis=0)
        quality += (1.0 - (error**2).sum(axis=1) / np.maximum(spread, 1e-300)).mean(axis=1)
    return float(PENALTIES[int(np.argmax(quality))])


def predict(
    x: Float[np.ndarray, "fit latents"],
    y: Float[np.ndarray, "fit factors"],
    x_new: Float[np.ndarray, "score latents"],
    penalty: float,
) -> Float[np.ndarray, "score factors"]:
    """Predict targets of new cells by ridge regression with intercept; penalty 0 is least squares of minimal norm."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    if penalty == 0:
        weights = np.linalg.lstsq(x - x_mean, y - y_mean, rcond=None)[0]
    else:
        weights = _coefficients(x - x_mean, y - y_mean, np.array([penalty]))[0]
    return np.asarray((x_new - x_mean) @ weights + y_mean)


def spread(
    y: Float[np.ndarray, "score factors"], weights: Float[np.ndarray, "draws score"]
) -> Float[np.ndarray, "draws factors"]:
    """Return the sum of squares around the mean, each cell counted as `weights` say (bootstrap draws)."""
    centred = y - y.mean(axis=0)
    return np.asarray(weights @ centred**2 - (weights @ centred) ** 2 / weights.sum(axis=1, keepdims=True))


def r2(
    y: Float[np.ndarray, "score factors"],
    predicted: Float[np.ndarray, "score factors"],
    weights: Float[np.ndarray, "draws score"],
) -> Float[np.ndarray, "draws factors"]:
    """Return 1 - SS(residual)/SS(total) of every target, each cell counted as `weights` say (bootstrap draws)."""
    return np.asarray(1.0 - weights @ (y - predicted) ** 2 / spread(y, weights))
