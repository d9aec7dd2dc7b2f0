"""How much of one block can be told from another, both ways: R² of kernel ridge regression between blocks."""

import numpy as np
from jaxtyping import Float, Int

from scident.errors import NotApplicable
from scident.metrics import _assign, _blocks, _cells, _kernel_ridge, _ridge
from scident.metrics._memory import remembered
from scident.metrics.base import Inputs, Value

SEED = 0
"""Of cells, folds and bootstrap, so that the table of scores and the heat map rest on the same ones."""

Draws = Float[np.ndarray, " draws"]
"""R² on the cells to score, then on bootstrap draws of them."""


def matrix(inputs: Inputs, cells: int) -> dict[str, Draws | str]:
    """Return R² between every true and every learned block, or the reason why there is none.

    Parameters
    ----------
    inputs
        With blocks on both sides.
    cells
        Most cells to learn on and most cells to score.

    Returns
    -------
    ``within:x<-tx``: the true block x from the learned block tx, of residuals after removing the means of conditions;
    ``pooled:x<-tx``: of the latents themselves; ``within:reverse:tx<-x``: the learned block tx from the true block x.
    """
    true, learned = _blocks.columns(inputs.blocks_true), _blocks.columns(inputs.member.blocks)
    order = [np.concatenate([side[block] for block in _blocks.BLOCKS]) for side in (true, learned)]
    sizes, learned_sizes = (tuple(len(side[block]) for block in _blocks.BLOCKS) for side in (true, learned))
    (z_true, z_true_new), (z, z_new) = _cells.truth(inputs), _cells.latents(inputs, inputs.member)
    pooled = _assign.Pairs(z_true[:, order[0]], z_true_new[:, order[0]], z[:, order[1]], z_new[:, order[1]])
    found: dict[str, Draws | str] = {}
    for kind in ("within", "pooled"):
        try:
            pairs = _assign.within(inputs, pooled) if kind == "within" else pooled
        except NotApplicable as refusal:
            found |= dict.fromkeys((f"{kind}:{name}" for name in NAMES), refusal.reason)
            continue
        latents = pairs.factors_fit, pairs.factors_score, pairs.z_fit, pairs.z_score
        entries = _entries(*latents, sizes, learned_sizes, cells)
        found |= {f"{kind}:{name}": entries.get(name, "constant_block") for name in NAMES}
    return found


NAMES = tuple(f"{way}{a}<-{b}" for way in ("", "reverse:") for a in _blocks.BLOCKS for b in _blocks.BLOCKS)
"""Entries of the matrix, what is predicted on the left."""


def to_value(variant: str, draws: Draws | str, cells: int) -> Value:
    """Return an entry, or a mean of entries, as a value of a metric."""
    if isinstance(draws, str):
        return Value(0.0, variant=variant, missing=draws)
    return Value(float(draws[0]), float(draws[1:].std(ddof=1)), cells, variant=variant)


@remembered
def _entries(
    a_fit: Float[np.ndarray, "fit factors"],
    a_new: Float[np.ndarray, "score factors"],
    b_fit: Float[np.ndarray, "fit latents"],
    b_new: Float[np.ndarray, "score latents"],
    a_sizes: tuple[int, ...],
    b_sizes: tuple[int, ...],
    cells: int,
) -> dict[str, Draws]:
    """Predict `a` from each block of `b` and the other way round; targets that do not vary have no entry."""
    rng = np.random.default_rng(SEED)
    fit, new = _cells.drawn(len(a_fit), cells, rng), _cells.drawn(len(a_new), cells, rng)
    fold, weights = _ridge.folds(len(fit), rng), _cells.bootstrap_weights(len(new), rng)
    a = (*_ridge.standardise(a_fit[fit], a_new[new]), _groups(a_sizes))
    b = (*_ridge.standardise(b_fit[fit], b_new[new]), _groups(b_sizes))
    found = {}
    for way, target, (x, x_new, source) in (("", a, b), ("reverse:", b, a)):
        varying = ~(_assign.dead(target[0]) | _assign.dead(target[1]))
        y, y_new, group = (part[..., varying] for part in target)
        for number, name in enumerate(_blocks.BLOCKS):
            inside = source == number
            predicted = _kernel_ridge.predict(x[:, inside], y, x_new[:, inside], group, fold)
            r2 = _ridge.r2(y_new, predicted, weights)
            for one in np.unique(group):
                found[f"{way}{_blocks.BLOCKS[one]}<-{name}"] = r2[:, group == one].mean(axis=1)
    return found


def _groups(sizes: tuple[int, ...]) -> Int[np.ndarray, " columns"]:
    return np.repeat(np.arange(len(sizes)), sizes)
