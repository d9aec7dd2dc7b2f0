"""Delta Pearson: does the predicted difference to control cells point the same way as the observed one?

A response that all perturbations share inflates it: predicting the mean perturbation scores well above 0, so read it
beside `training_mean`, and `pref_delta_pearson` first. Variants as in `response_r2`.
"""

import numpy as np
from pydantic import Field

from scident.info import MetricInfo
from scident.metrics import _response
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Delta Pearson",
    source="Roohani, Huang & Leskovec (2024), Nature Biotechnology 42; caution: Viñas Torné et al. (2025)",
    formula="correlation over genes, own targets left out, of predicted and observed difference to control; mean",
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
    """Correlate differences; no predicted difference is 0 by convention."""
    return _response.values_of(inputs, _correlation, min_cells=params.min_cells, reference="control")


def _correlation(one: _response.Condition) -> _response.Score:
    genes = ~one.own_targets
    predicted, observed = ((values - one.control)[genes] for values in (one.predicted, one.observed))
    return _response.Score(_response.pearson(predicted, observed, float(np.linalg.norm(one.observed))))
