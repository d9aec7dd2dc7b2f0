"""Fixed random networks that turn factors into genes: linear layers with leaky ReLU between them, no biases."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

SLOPE = 0.2
"""Slope of the leaky ReLU below 0, where a simulator names no other."""

Weights = Sequence[Float[np.ndarray, "_ _"]]
"""One matrix per layer, each of its own size."""


def draw_weights(sizes: Sequence[int], rng: np.random.Generator) -> list[Float[np.ndarray, "_ _"]]:
    """Draw one matrix per pair of neighbouring layer sizes, with orthogonal rows of equal length.

    Parameters
    ----------
    sizes
        Layer widths from factors to genes, never falling.
    rng
        Source of randomness.

    Returns
    -------
    Matrices (a × b) whose rows are orthogonal with norm sqrt(2 / (1 + 0.2²)) · sqrt(2 / (a + b)).
    """
    gain = np.sqrt(2 / (1 + SLOPE**2))
    weights = []
    for into, out in itertools.pairwise(sizes):
        columns, _ = np.linalg.qr(rng.standard_normal((into, out)).T)
        weights.append(gain * np.sqrt(2 / (into + out)) * columns.T)
    return weights


def draw_clipped(size: int, clip: tuple[float, float], rng: np.random.Generator) -> Float[np.ndarray, "_ _"]:
    """Draw a square matrix of standard normals and clip its singular values, so that no direction is lost."""
    left, spectrum, right = np.linalg.svd(rng.standard_normal((size, size)))
    clipped: Float[np.ndarray, "_ _"] = (left * np.clip(spectrum, *clip)) @ right
    return clipped


def logits(
    z: Float[np.ndarray, "cells factors"], weights: Weights, slope: float = SLOPE
) -> Float[np.ndarray, "cells genes"]:
    """Run the network."""
    hidden = z
    for weight in weights[:-1]:
        hidden = hidden @ weight
        hidden = np.maximum(slope * hidden, hidden)
    return hidden @ weights[-1]


def logits_and_jacobian(
    z: Float[np.ndarray, "cells factors"], weights: Weights, slope: float = SLOPE
) -> tuple[Float[np.ndarray, "cells genes"], Float[np.ndarray, "cells factors genes"]]:
    """Run the network and carry the derivative with respect to each factor along (forward mode).

    There are fewer factors than genes, so forward mode is several times cheaper than back-propagation; every product
    has the same right-hand matrix for all cells and factors, so it is one matrix product.
    """
    cells, factors = z.shape
    hidden = z
    tangent = np.broadcast_to(np.eye(factors), (cells, factors, factors))
    for weight in weights[:-1]:
        hidden = hidden @ weight
        slopes = np.where(hidden > 0, 1.0, slope)
        hidden *= slopes
        # all cells share the first layer's tangent before the slopes: no need to multiply it cell by cell
        tangent = weight if tangent.strides[0] == 0 else _times(tangent, weight)
        tangent = tangent * slopes[:, None, :]
    return hidden @ weights[-1], _times(tangent, weights[-1])


def _times(
    tangent: Float[np.ndarray, "cells factors into"], weight: Float[np.ndarray, "into out"]
) -> Float[np.ndarray, "cells factors out"]:
    cells, factors, into = tangent.shape
    product: Float[np.ndarray, "cells factors out"] = (tangent.reshape(-1, into) @ weight).reshape(cells, factors, -1)
    return product
