"""Block R²: does each learned block hold its true block, whole and with nothing added?

FCR claims that z_x and z_t are identified as blocks, up to any invertible map inside each, so each is regressed on its
learned counterpart by kernel ridge; z_tx is judged by `mcc_interaction`. Read `within` first: residuals after removing
the means of conditions, which labels alone predict. ``reverse`` predicts the learned block from the true one and falls
where something was added. All nine pairs of blocks are in `block_matrix`.
"""

import numpy as np
from pydantic import Field

from scident.info import MetricInfo
from scident.metrics import _block_r2, _cells
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Block R²",
    source="Mao, Lopez, Liu, Hütter, Richmond, Benos & Qiu (2024), NeurIPS, arXiv:2410.22472 (the claim); this project",
    formula="mean over blocks x and t, then their latents, of 1 - SS(residual)/SS(total) on scored cells; kernel ridge",
    needs=("latents", "truth", "blocks", "labels"),
    range=(-1e999, 1.0),
    better="higher",
    no_skill=0.0,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    tier="full",
    variants=("{within,pooled}", "{within,pooled}:reverse"),
    shown=("within", "pooled"),
    companions=True,
)

IDENTIFIED = ("x", "t")
"""Blocks claimed to be identified as a whole."""


class Params(PluginParams):
    """How many cells."""

    cells: int = Field(3000, ge=50, le=3000, description="Most cells to learn on and most cells to score.")


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Fit on ``inputs.fit``, score on ``inputs.score``; cells, folds and bootstrap are those of `block_matrix`."""
    _cells.truth(inputs)
    entries = _block_r2.matrix(inputs, params.cells)
    values = []
    for variant in info.variants:
        draws = [entries[f"{variant}:{block}<-{block}"] for block in IDENTIFIED]
        known = [one for one in draws if not isinstance(one, str)]
        mean = np.mean(known, axis=0) if len(known) == len(draws) else next(d for d in draws if isinstance(d, str))
        values.append(_block_r2.to_value(variant, mean, min(len(inputs.score), params.cells)))
    return values
