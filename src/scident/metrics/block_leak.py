"""Leak between blocks: what a learned block tells of another true block beyond what the labels tell already.

0 is ideal. Blocks depend on each other through the labels, so what labels tell of the true block is subtracted: means
of conditions are removed first, and the regression sees the labels too. ``within:x<-tx`` is the share of the variance
of the true z_x inside conditions that the learned block tx adds; ``pooled:x<-tx`` counts it in shares of all variance.
Latents of pure noise leak nothing: read it beside `block_r2`, it is never ranked.
"""

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from scident.info import MetricInfo
from scident.metrics import _assign, _block_r2, _blocks, _cells, _kernel_ridge, _ridge
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Block leak",
    source="this project, after Mao, Lopez, Liu, Hütter, Richmond, Benos & Qiu (2024), NeurIPS, arXiv:2410.22472",
    formula="largest |R²(true block from another learned block and labels) - R²(true block from labels)|; kernel ridge",
    needs=("latents", "truth", "blocks", "labels"),
    range=(-1e999, 1e999),
    better="neither",
    no_skill=0.0,
    ceiling=0.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    tier="full",
    scopes=("iid",),
    variants=("{within,pooled}", "{within,pooled}:{x<-tx,x<-t,tx<-x,tx<-t,t<-x,t<-tx}"),
    shown=("within", "pooled"),
    companions=True,
)


class Params(PluginParams):
    """How many cells."""

    cells: int = Field(2000, ge=50, le=3000, description="Most cells to learn on and most cells to score.")


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Regress residuals of the true blocks on learned block and labels of ``inputs.fit``, score ``inputs.score``."""
    z, z_new = _cells.truth(inputs)
    pairs = _assign.within(inputs, _assign.Pairs(z, z_new, *_cells.latents(inputs, inputs.member)))
    true, learned = _blocks.columns(inputs.blocks_true), _blocks.columns(inputs.member.blocks)
    keep, keep_new = _cells.kept(inputs)
    fit, new = _cells.drawn(len(pairs.z_fit), params.cells, rng), _cells.drawn(len(pairs.z_score), params.cells, rng)
    label, label_new = _one_hot(inputs, inputs.fit[keep][fit], inputs.score[keep_new][new])
    y, y_new = pairs.factors_fit[fit], pairs.factors_score[new]
    x, x_new = _ridge.standardise(pairs.z_fit[fit], pairs.z_score[new])
    fold, weights = _ridge.folds(len(fit), rng), _cells.bootstrap_weights(len(new), rng)
    share = (weights @ y_new**2) / _ridge.spread(z_new[keep_new][new], weights)
    found: dict[str, _block_r2.Draws] = {}
    for source, inside in learned.items():
        others = [block for block in _blocks.BLOCKS if block != source]
        columns = np.concatenate([true[block] for block in others])
        group = np.repeat(np.arange(len(others)), [len(true[block]) for block in others])
        sees, sees_new = np.hstack([x[:, inside], label]), np.hstack([x_new[:, inside], label_new])
        predicted = _kernel_ridge.predict(sees, y[:, columns], sees_new, group, fold)
        added = _ridge.r2(y_new[:, columns], predicted, weights)
        for number, block in enumerate(others):
            found[f"within:{block}<-{source}"] = added[:, group == number].mean(axis=1)
            found[f"pooled:{block}<-{source}"] = (added * share[:, columns])[:, group == number].mean(axis=1)
    for kind in ("within", "pooled"):
        largest = max((d for name, d in found.items() if name.startswith(kind)), key=lambda draws: abs(draws[0]))
        found[kind] = largest * np.sign(largest[0])
    return [_block_r2.to_value(variant, found[variant], len(new)) for variant in info.variants]


def _one_hot(
    inputs: Inputs, rows: Int[np.ndarray, " fit"], new_rows: Int[np.ndarray, " score"]
) -> tuple[Float[np.ndarray, "fit levels"], Float[np.ndarray, "score levels"]]:
    """Return one column per context and per perturbation, 0 or 1, beside latents of sd 1."""
    codes = _cells.contexts(inputs), _cells.perturbations(inputs)
    levels = [np.eye(code.max() + 1) for code in codes]
    first, second = (
        np.hstack([eye[code[cells]] for eye, code in zip(levels, codes, strict=True)]) for cells in (rows, new_rows)
    )
    return first, second
