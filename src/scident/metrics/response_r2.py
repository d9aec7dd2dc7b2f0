"""Response R²: how close is the predicted mean expression of a condition to the observed one?

Unperturbed genes dominate it: predicting no change comes near 1, so read it beside `no_change` and read `delta_r2`
first. Variants say what the prediction was made from: nothing before the colon for baselines, ``reconstruction`` of the
scored cells themselves (an upper bound, no prediction), ``counterfactual`` from control cells, ``label_only``; and
``de50`` restricts it to the 50 genes that change most, chosen on other cells.
"""

import numpy as np
from pydantic import Field

from scident.info import MetricInfo
from scident.metrics import _response
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Response R²",
    source="Mao, Lopez, Liu, Hütter, Richmond, Benos & Qiu (2024), NeurIPS, arXiv:2410.22472",
    formula="1 - SS(observed - predicted)/SS(observed - its mean over genes), then unweighted mean over conditions",
    needs=("predictions", "labels"),
    range=(-1e999, 1.0),
    better="higher",
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine", "monotone", "linear"),
    scopes=("iid", "ood"),
    variants=(
        "",
        "de50",
        "reconstruction",
        "reconstruction:de50",
        "counterfactual",
        "counterfactual:de50",
        "label_only",
        "label_only:de50",
    ),
    shown=("", "counterfactual"),
)


class Params(PluginParams):
    """Which conditions count."""

    min_cells: int = Field(30, ge=1, description="Conditions with fewer scored cells are left out.")


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Compare means on all genes and on the panel; latents are not read."""
    return _response.values_of(inputs, _r2, min_cells=params.min_cells, panels=("", _response.PANEL))


def _r2(one: _response.Condition) -> _response.Score:
    best = _response.attainable_r2(one.observed, one.sd, one.cells)
    return _response.Score(_response.r2(one.observed, one.predicted), best)
