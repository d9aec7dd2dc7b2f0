"""From the Gaussian sources of a factorised world to its latents, and from these to expression."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from scident.simulators import _decoder

MIXING: dict[tuple[str, str], tuple[tuple[float, float], float]] = {
    ("mild", "normal"): ((0.7, 1.4), 0.4),
    ("mild", "counts"): ((0.8, 1.25), 0.5),
    ("hard", "normal"): ((0.5, 2.0), 0.2),
    ("hard", "counts"): ((0.5, 2.0), 0.2),
}
"""Bounds of the singular values and slope of the leaky ReLU, by preset and observation."""
NOISE_SD = 0.1
THETA = 10.0
"""Inverse dispersion of the counts."""
DEPTH = 5000.0
"""Median counts per cell."""
LAYERS, BLOCK_LAYERS = 3, 2
CHUNK = 4096
"""Cells decoded at once, so that the intermediate arrays stay small."""

World = Mapping[str, Any]


def draw_mixing(
    preset: str,
    observation: str,
    sizes: tuple[int, int, int],
    genes: int,
    mix_block: bool,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Draw the maps and name the noise."""
    clip, slope = MIXING[preset, observation]
    latents = sum(sizes)
    world: dict[str, Any] = {"slope": slope}
    world |= {f"W{i}": _decoder.draw_clipped(latents, clip, rng) for i in range(LAYERS)}
    world["B"] = rng.standard_normal((latents, genes)) / np.sqrt(latents)
    if mix_block:
        for block, width in (("x", sizes[0]), ("t", sizes[2])):
            world |= {f"M{i}_{block}": _decoder.draw_clipped(width, clip, rng) for i in range(BLOCK_LAYERS)}
    if observation == "normal":
        return world | {"noise": "normal", "noise_sd": NOISE_SD}
    return world | {"noise": "negative_binomial", "theta": THETA, "depth": DEPTH}


def mix_blocks(world: World, sources: Float[np.ndarray, "cells factors"]) -> Float[np.ndarray, "cells factors"]:
    """Make the latents of the first block depend on each other, and those of the last, if the world says so."""
    z = sources.copy()
    for block in ("x", "t"):
        if f"M0_{block}" in world:
            weights = [np.asarray(world[f"M{i}_{block}"]) for i in range(BLOCK_LAYERS)]
            first = 0 if block == "x" else z.shape[1] - len(weights[0])
            columns = slice(first, first + len(weights[0]))
            z[:, columns] = _decoder.logits(sources[:, columns], weights, float(world["slope"]))
    return z


def expected(
    world: World, z: Float[np.ndarray, "cells factors"]
) -> tuple[Float[np.ndarray, "cells genes"], Float[np.ndarray, "cells genes factors"]]:
    """Return the mean expression given the latents, of cells of median size where it is counts, and its exact Jacobian.

    Parameters
    ----------
    world
        ``uns["world"]`` of the truth file.
    z
        Latents, in the simulator's units.

    Returns
    -------
    Means, and their derivatives per unit of latent.
    """
    weights = _weights(world)
    mean = np.empty((len(z), weights[-1].shape[1]))
    slopes = np.empty((len(z), z.shape[1], mean.shape[1]))
    for rows in _chunks(len(z)):
        out, tangent = _decoder.logits_and_jacobian(z[rows], weights, float(world["slope"]))
        mean[rows] = _mean(world, out)
        if world["noise"] == "negative_binomial":
            tangent -= np.matmul(tangent, mean[rows][:, :, None] / world["depth"])
            tangent *= mean[rows][:, None, :]
        slopes[rows] = tangent
    return mean, slopes.transpose(0, 2, 1)


def draw_expression(
    world: World, z: Float[np.ndarray, "cells factors"], size: Float[np.ndarray, "cells 1"], rng: np.random.Generator
) -> Float[np.ndarray, "cells genes"]:
    """Draw expression in single precision; `size` multiplies the means of counts and is left out of other noise."""
    x = np.empty((len(z), world["B"].shape[1]), dtype=np.float32)
    for rows in _chunks(len(z)):
        mean = _mean(world, _decoder.logits(z[rows], _weights(world), float(world["slope"])))
        if world["noise"] == "normal":
            x[rows] = mean + world["noise_sd"] * rng.standard_normal(mean.shape)
        else:
            x[rows] = rng.poisson(rng.gamma(world["theta"], size[rows] * mean / world["theta"]))
    return x


def variance(world: World, mean: Float[np.ndarray, "cells genes"]) -> Float[np.ndarray, "cells genes"]:
    """Return the variance of expression around its mean."""
    if world["noise"] == "normal":
        return np.full(mean.shape, float(world["noise_sd"]) ** 2)
    spread: Float[np.ndarray, "cells genes"] = mean + mean**2 / world["theta"]
    return spread


def _weights(world: World) -> list[Float[np.ndarray, "_ _"]]:
    *hidden, last = (np.asarray(world[f"W{i}"]) for i in range(LAYERS))
    return [*hidden, last @ np.asarray(world["B"])]


def _mean(world: World, out: Float[np.ndarray, "cells genes"]) -> Float[np.ndarray, "cells genes"]:
    if world["noise"] == "normal":
        return out
    share = np.exp(out - out.max(axis=1, keepdims=True))
    mean: Float[np.ndarray, "cells genes"] = share * (world["depth"] / share.sum(axis=1, keepdims=True))
    return mean


def _chunks(cells: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, cells, CHUNK)]
