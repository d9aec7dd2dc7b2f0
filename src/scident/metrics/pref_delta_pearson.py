"""Perturbation-specific delta Pearson: what a prediction knows beyond the mean response of training perturbations.

Differences are taken to the mean over training perturbations of the context, so predicting that mean scores 0, and a
response that all perturbations share earns nothing. Variants as in `response_r2`.
"""

import numpy as np
from pydantic import Field

from scident.info import MetricInfo
from scident.metrics import _response
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Delta Pearson beyond the mean",
    source="idea: Viñas Torné et al. (2025), Systema; written for this project",
    formula="correlation over genes of predicted and observed difference to the mean training perturbation; mean",
    needs=("predictions", "labels"),
    range=(-1.0, 1.0),
    better="higher",
    no_skill=0.0,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine", "monotone", "linear"),
    scopes=("iid", "ood"),
    variants=("", "reconstruction", "counterfactual", "label_only"),
    shown=("", "counterfactual"),
)


class Params(PluginParams):
    """Which conditions count."""

    min_cells: int = Field(30, ge=1, description="Conditions with fewer scored cells are left out.")


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Correlate differences to the centroid; predicting the centroid itself is 0 by convention."""
    return _response.values_of(inputs, _correlation, min_cells=params.min_cells, reference="centroid")


def _correlation(one: _response.Condition) -> _response.Score:
    predicted, observed = one.predicted - one.centroid, one.observed - one.centroid
    return _response.Score(_response.pearson(predicted, observed, float(np.linalg.norm(one.observed))))
