"""Block matrix: how much of each true block can be told from each learned block?

Descriptive: the heat map behind `block_r2`. Variant ``within:x<-tx`` is the true block x predicted from the learned
block tx, after removing the means of conditions; ``reverse`` predicts the learned block from the true one. The ideal is
1 on the diagonal. Off the diagonal it is not 0 in variants ``pooled``, where blocks depend on each other through the
labels: compare with ``labels:x``, what labels alone tell of the true block x, or read `block_leak`.
"""

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from scident.info import MetricInfo
from scident.metrics import _assign, _block_r2, _blocks, _cells, _ridge
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Block matrix",
    source="this project, after Mao, Lopez, Liu, Hütter, Richmond, Benos & Qiu (2024), NeurIPS, arXiv:2410.22472",
    formula="mean over latents of a block of 1 - SS(residual)/SS(total), predicted from another block by kernel ridge",
    needs=("latents", "truth", "blocks", "labels"),
    range=(-1e999, 1.0),
    better="neither",
    no_skill=0.0,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    tier="full",
    variants=("{within,pooled}:{x,tx,t}<-{x,tx,t}", "{within,pooled}:reverse:{x,tx,t}<-{x,tx,t}", "labels:{x,tx,t}"),
    shown=("within:tx<-tx",),
    companions=True,
)


class Params(PluginParams):
    """How many cells."""

    cells: int = Field(3000, ge=50, le=3000, description="Most cells to learn on and most cells to score.")


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Fit on ``inputs.fit``, score on ``inputs.score``."""
    z, z_new = _cells.truth(inputs)
    entries = _block_r2.matrix(inputs, params.cells)
    cells = min(len(inputs.score), params.cells)
    values = [_block_r2.to_value(name, entries[name], cells) for name in info.variants if name in entries]
    condition = _cells.conditions(inputs)
    predicted = _means(z, condition[inputs.fit], condition[inputs.score])
    weights = _cells.bootstrap_weights(len(z_new), rng)
    for block, columns in _blocks.columns(inputs.blocks_true).items():
        varying = columns[~_assign.dead(z_new[:, columns])]
        draws = _ridge.r2(z_new[:, varying], predicted[:, varying], weights).mean(axis=1)
        values.append(_block_r2.to_value(f"labels:{block}", draws, len(z_new)))
    return values


def _means(
    z: Float[np.ndarray, "fit factors"], fit: Int[np.ndarray, " fit"], scored: Int[np.ndarray, " score"]
) -> Float[np.ndarray, "score factors"]:
    """Predict every latent by the mean of its condition, or of all cells where the condition is new."""
    groups = int(max(fit.max(), scored.max())) + 1
    means = _cells.group_means(z, fit, groups)
    means[np.bincount(fit, minlength=groups) == 0] = z.mean(axis=0)
    return np.asarray(means[scored])
