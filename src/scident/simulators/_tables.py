r"""Means and standard deviations of the blocks of a factorised world, for every context and treatment.

A table is named as in the model :math:`z_x \mid x \sim N(a_x, s_x^2)`, :math:`z_t \mid t \sim N(b_t, r_t^2)`,
:math:`z_{tx} \mid x, t \sim N(c_{xt}, v_{xt}^2)`. Treatment 0 is the control: b = 0, r = 1, c = 0, v = 1 there.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

Tables = Mapping[str, Float[np.ndarray, "..."]]
"""a and s (contexts × d_x), b and r (treatments × d_t), c and v (contexts × treatments × d_tx)."""

LOG_SD = 0.5
"""Strength of the interaction in log v."""
WORST_CONDITION = 20.0
"""Condition number of the contrast table above which a draw is refused."""


def draw_tables(
    contexts: int,
    treatments: int,
    sizes: tuple[int, int, int],
    strength: float,
    rank: Literal[1, "full"],
    constant_scale: bool,
    rng: np.random.Generator,
) -> dict[str, Float[np.ndarray, "..."]]:
    """Draw all tables.

    Parameters
    ----------
    contexts, treatments
        Numbers of levels, the control among the treatments.
    sizes
        Latents of the blocks x, tx and t.
    strength
        Standard deviation of c before the control is subtracted.
    rank
        Of the interaction of each latent: ``full`` says nothing about a pair from the other pairs.
    constant_scale
        v = 1 everywhere.
    rng
        Source of randomness.
    """
    d_x, d_tx, d_t = sizes
    a, s = _main_effect(contexts, d_x, rng)
    b, r = _main_effect(treatments, d_t, rng)
    b[0], r[0] = 0.0, 1.0
    c, log_v = (_interaction((contexts, treatments, d_tx), rank, rng) for _ in range(2))
    c = strength * (c - c[:, :1])
    v = np.exp((0.0 if constant_scale else LOG_SD) * (log_v - log_v[:, :1]))
    return {"a": a, "s": s, "b": b, "r": r, "c": c, "v": v}


def conditionals(
    tables: Tables,
) -> tuple[Float[np.ndarray, "treatments contexts factors"], Float[np.ndarray, "treatments contexts factors"]]:
    """Return mean and standard deviation of every latent, blocks in the order x, tx, t."""
    pairs = tables["c"].shape[1::-1]

    def joined(x: np.ndarray, tx: np.ndarray, t: np.ndarray) -> Float[np.ndarray, "treatments contexts factors"]:
        wide = np.broadcast_to(x, (*pairs, x.shape[1])), np.broadcast_to(t[:, None], (*pairs, t.shape[1]))
        return np.concatenate([wide[0], tx.transpose(1, 0, 2), wide[1]], axis=2)

    return joined(tables["a"], tables["c"], tables["b"]), joined(tables["s"], tables["v"], tables["r"])


def contrast_spectrum(
    c: Float[np.ndarray, "contexts treatments tx"], v: Float[np.ndarray, "contexts treatments tx"]
) -> Float[np.ndarray, " singular"]:
    r"""Return the singular values of the contrast table, columns scaled to unit length.

    Rows are pairs of another context and another treatment than the first, columns the interaction contrasts
    :math:`f(x,t) - f(x_0,t) - f(x,0) + f(x_0,0)` of :math:`1/v^2` and of :math:`c/v^2`. The latents of z_tx are
    identified one by one if its rank is twice their number.
    """
    natural = np.concatenate([1 / v**2, c / v**2], axis=2)
    contrast = (natural - natural[:1] - natural[:, :1] + natural[:1, :1])[1:, 1:]
    table = contrast.reshape(-1, contrast.shape[2])
    length = np.linalg.norm(table, axis=0)
    spectrum: Float[np.ndarray, " singular"] = np.linalg.svd(table / np.where(length > 0, length, 1), compute_uv=False)
    return spectrum


def rich(spectrum: Float[np.ndarray, " singular"], d_tx: int) -> bool:
    """Whether the contrast table has rank 2·d_tx and is conditioned well enough."""
    return bool(len(spectrum) == 2 * d_tx and spectrum[-1] * WORST_CONDITION >= spectrum[0] > 0)


def _main_effect(
    levels: int, latents: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "levels latents"], Float[np.ndarray, "levels latents"]]:
    return rng.uniform(-2, 2, (levels, latents)), rng.uniform(0.5, 1.5, (levels, latents))


def _interaction(
    shape: tuple[int, int, int], rank: Literal[1, "full"], rng: np.random.Generator
) -> Float[np.ndarray, "contexts treatments tx"]:
    """Draw tables whose rows and columns have mean 0, with the variance of a doubly centred standard normal table."""
    if rank == "full":
        table = rng.standard_normal(shape)
        for axis in (0, 1):
            table -= table.mean(axis=axis, keepdims=True)
    else:
        contexts, treatments, latents = shape
        table = _factor((contexts, 1, latents), 0, rng) * _factor((1, treatments, latents), 1, rng)
    return table


def _factor(shape: tuple[int, int, int], axis: int, rng: np.random.Generator) -> Float[np.ndarray, "_ _ _"]:
    """Draw one factor of a product, centred and of the mean square that centred normals have on average.

    Products of free normals have tails that would make single standard deviations a thousandfold.
    """
    factor = rng.standard_normal(shape)
    factor -= factor.mean(axis=axis, keepdims=True)
    scaled: Float[np.ndarray, "_ _ _"] = factor * np.sqrt(1 - 1 / shape[axis]) / factor.std(axis=axis, keepdims=True)
    return scaled
