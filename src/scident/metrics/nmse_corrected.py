r"""Corrected normalised squared error: what share of the squared response does a prediction miss?

Squared distances between means of cells are too large by the sampling variance of both; here it is subtracted, from
the error as from the response. So predicting no change scores 1 and the means of other cells of the same conditions
score 0 on average, however few cells there are; below 0 is luck, above 1 is worse than saying nothing. What a model
gets wrong for want of training cells is its own error and stays. Shrinking a prediction towards the control is
rewarded: read it beside `pref_delta_pearson`. Variants as in `response_r2`.

A condition has a value of its own where its response exceeds two standard errors, genes taken as independent; so has
the ratio of sums, in which all conditions count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pydantic import Field

from scident.info import MetricInfo
from scident.metrics import _response
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Corrected normalised MSE",
    source="this project; jackknife correction as in cell-eval2's mse_unbiased",
    formula="Σ_p(‖predicted - observed‖² - sampling variance of both) / Σ_p(‖observed - control‖² - the same)",
    needs=("predictions", "labels"),
    range=(-1e999, 1e999),
    better="lower",
    no_skill=1.0,
    ceiling=0.0,
    invariant_to=("permutation", "sign", "scale", "affine", "monotone", "linear"),
    scopes=("iid", "ood"),
    variants=("", "reconstruction", "counterfactual", "label_only"),
    shown=("", "counterfactual"),
)

VISIBLE = 2.0
"""Standard errors by which a response must exceed 0 to be divided by."""
WEAK = "weak_response"


class Params(PluginParams):
    """Which conditions count."""

    min_cells: int = Field(30, ge=2, description="Conditions with fewer scored cells are left out.")


@dataclass(frozen=True, kw_only=True)
class Ratio(_response.Score):
    """Error and response of one condition, both squared norms free of sampling variance in expectation."""

    error: float
    response: float
    response_variance: float
    """Sampling variance of `response`."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Divide the error of all conditions by their response; latents are not read."""
    minimum = params.min_cells
    return _response.values_of(inputs, _ratio, min_cells=minimum, reference="control", overall=_of_sums)


def _ratio(one: _response.Condition) -> Ratio:
    noise = one.sd**2 / one.cells
    error = float(((one.predicted - one.observed) ** 2 - noise - one.predicted_variance).sum())
    noise = noise + one.control_variance
    squares = (one.observed - one.control) ** 2
    response = float((squares - noise).sum())
    # var (d² - v) = 4 v δ² + 2 v² for normal d of mean δ, and E d² = δ² + v
    variance = max(float((4 * noise * squares - 2 * noise**2).sum()), float((2 * noise**2).sum()))
    visible = _visible(response, variance)
    return Ratio(
        error / response if visible else 0.0,
        missing="" if visible else WEAK,
        error=error,
        response=response,
        response_variance=variance,
    )


def _of_sums(found: Sequence[Ratio]) -> Value:
    errors, responses = (np.array([getattr(one, name) for one in found]) for name in ("error", "response"))
    if not _visible(float(responses.sum()), sum(one.response_variance for one in found)):
        return Value(0.0, missing=WEAK)
    own = [one.value for one in found if not one.missing]
    note = f"median={np.median(own):.4g}, visible={len(own)}" if own else "visible=0"
    return Value(float(errors.sum() / responses.sum()), _jackknife(errors, responses), len(found), note=note)


def _visible(response: float, variance: float) -> bool:
    return response > 0 and response > VISIBLE * float(np.sqrt(variance))


def _jackknife(errors: Float[np.ndarray, " conditions"], responses: Float[np.ndarray, " conditions"]) -> float | None:
    """Return the standard error of the ratio of sums over conditions, each left out in turn."""
    left = responses.sum() - responses
    if len(errors) < 2 or not (left > 0).all():
        return None
    without = (errors.sum() - errors) / left
    return float(np.sqrt((len(errors) - 1) * without.var()))
