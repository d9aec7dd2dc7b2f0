"""Response Δ-R²: how close is the predicted difference to control cells to the observed one?

Predicting no change gives 0 or less, so unlike R² of expression it is not near 1 for trivial predictions. Variants as
in `response_r2`. ``attainable`` in the note is what the true mean would get on so few cells.
"""

import numpy as np
from pydantic import Field

from scident.info import MetricInfo
from scident.metrics import _response
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Response Δ-R²",
    source="this project, after Mao et al. (2024), NeurIPS, arXiv:2410.22472",
    formula="R² over genes of the difference to the mean of seen control cells of the context, mean over conditions",
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
    """Compare differences on all genes and on the panel; latents are not read."""
    panels = ("", _response.PANEL)
    return _response.values_of(inputs, _r2, min_cells=params.min_cells, reference="control", panels=panels)


def _r2(one: _response.Condition) -> _response.Score:
    effect = one.observed - one.control
    best = _response.attainable_r2(effect, one.sd, one.cells)
    return _response.Score(_response.r2(effect, one.predicted - one.control), best)
