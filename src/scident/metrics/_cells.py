"""What every metric on latents does first: pick its cells, refuse what cannot be scored, draw the bootstrap."""

import numpy as np
from jaxtyping import Bool, Float, Int

from scident.errors import NonFiniteError, NotApplicable
from scident.metrics.base import MIN_CELLS, Inputs, Member

DRAWS = 20
"""Cell-bootstrap draws behind every standard error of a latent metric."""

PER_CONDITION = 10
"""Conditions with fewer cells have no mean worth removing."""


def enough(cells: int) -> None:
    """Refuse to fit or score on fewer than `MIN_CELLS` cells."""
    if cells < MIN_CELLS:
        raise NotApplicable("too_few_cells")


def finite(values: Float[np.ndarray, "..."], what: str) -> None:
    """Refuse NaN and infinity: they are never imputed and never dropped."""
    if not np.isfinite(values).all():
        raise NonFiniteError(what)


def latents(
    inputs: Inputs, member: Member
) -> tuple[Float[np.ndarray, "fit latents"], Float[np.ndarray, "score latents"]]:
    """Return the latents of the cells to learn on and of the cells to score, in double precision."""
    if not member.z.shape[1]:
        raise NotApplicable("no_latents")
    enough(min(len(inputs.fit), len(inputs.score)))
    pair = member.z[inputs.fit].astype(np.float64), member.z[inputs.score].astype(np.float64)
    for z in pair:
        finite(z, "latents")
    return pair


def truth(inputs: Inputs) -> tuple[Float[np.ndarray, "fit factors"], Float[np.ndarray, "score factors"]]:
    """Return the true latents of the same two sets of cells."""
    if inputs.z_true is None:
        raise NotApplicable("no_truth")
    return inputs.z_true[inputs.fit].astype(np.float64), inputs.z_true[inputs.score].astype(np.float64)


def perturbations(inputs: Inputs) -> Int[np.ndarray, " cells"]:
    """Return one whole number per perturbation of every cell."""
    return inputs.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)


def contexts(inputs: Inputs) -> Int[np.ndarray, " cells"]:
    """Return one whole number per context of every cell."""
    return np.unique(inputs.obs["context"].astype(str).to_numpy(), return_inverse=True)[1]


def conditions(inputs: Inputs) -> Int[np.ndarray, " cells"]:
    """Return one whole number per (perturbation, context) of every cell."""
    context = contexts(inputs)
    return np.asarray(perturbations(inputs) * (context.max(initial=0) + 1) + context)


def group_means(
    values: Float[np.ndarray, "cells columns"], group: Int[np.ndarray, " cells"], groups: int
) -> Float[np.ndarray, "groups columns"]:
    """Return the mean of every column in every group; groups without cells give 0."""
    count = np.maximum(np.bincount(group, minlength=groups), 1)
    sums = [np.bincount(group, weights=column, minlength=groups) for column in values.T]
    return np.asarray(np.stack(sums, axis=1) / count[:, None])


def large_conditions(condition: Int[np.ndarray, " cells"]) -> Bool[np.ndarray, " cells"]:
    """Return which cells belong to a condition with at least `PER_CONDITION` cells."""
    found, group = np.unique(condition, return_inverse=True)
    return np.asarray(np.bincount(group, minlength=len(found))[group] >= PER_CONDITION)


def kept(inputs: Inputs) -> tuple[Bool[np.ndarray, " fit"], Bool[np.ndarray, " score"]]:
    """Return which cells to learn on and to score belong to conditions large enough for a mean of their own."""
    condition = conditions(inputs)
    pair = large_conditions(condition[inputs.fit]), large_conditions(condition[inputs.score])
    enough(int(min(mask.sum() for mask in pair)))
    return pair


def drawn(cells: int, most: int, rng: np.random.Generator) -> Int[np.ndarray, " drawn"]:
    """Return at most `most` row numbers of so many cells, in order."""
    return np.sort(rng.permutation(cells)[:most])


def residuals(
    values: Float[np.ndarray, "cells columns"], condition: Int[np.ndarray, " cells"], *, scale: bool = False
) -> Float[np.ndarray, "cells columns"]:
    """Subtract from every cell the mean of its condition, estimated on the cells given; `scale`: divide by its sd too.

    A column that its condition explains down to rounding becomes exactly 0: rounding errors must not be matched.
    """
    found, group = np.unique(condition, return_inverse=True)
    left = values - group_means(values, group, len(found))[group]
    left[:, left.std(axis=0) < 1e-8 * values.std(axis=0)] = 0.0
    if scale:
        sd = np.sqrt(group_means(left**2, group, len(found)))
        left *= np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 1e-8 * left.std(axis=0))[group]
    return np.asarray(left)


def bootstrap_weights(cells: int, rng: np.random.Generator, draws: int = DRAWS) -> Float[np.ndarray, "draws cells"]:
    """Return how often each cell counts: row 0 is the sample itself, the others are bootstrap draws."""
    drawn = rng.integers(cells, size=(draws, cells))
    counts = [np.bincount(row, minlength=cells) for row in drawn]
    return np.asarray(np.vstack([np.ones(cells), *counts]), dtype=np.float64)
