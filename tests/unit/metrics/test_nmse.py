"""Corrected normalised squared error in closed form, and without bias where cells are few."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from _responses import expression, predictions
from _worlds import member, value, world
from scident.metrics import nmse_corrected

RNG = np.random.default_rng(0)
SINGLES = pd.DataFrame({"perturbation": [f"p{i}" for i in range(30)], "context": "all"})


def inputs_of(seen, mean, variance=None):
    plain = world(None, member(np.empty((8, 0))), n_perts=2)
    given = replace(plain.member, predictions=predictions(seen, mean, variance=variance))
    return replace(plain, expression=seen, members=(given,))


def observed(cells=100, seed=0, **changes):
    seen = expression(SINGLES, np.random.default_rng(seed), cells=cells)
    return replace(seen, **changes)


def exact(seen):
    """The same with means that no sampling moved."""
    return replace(seen, sd=np.zeros_like(seen.sd), control_variance=np.zeros_like(seen.sd))


def sampled(seed, cells, effect=0.2):
    """True means, and what is observed of them on so many cells of sd 0.8; the control is known on 200 cells."""
    rng = np.random.default_rng(seed)
    seen = expression(SINGLES, rng, cells=cells)
    truth = seen.control + effect * (seen.mean - seen.control)
    drawn = truth + rng.normal(0, 0.8 / np.sqrt(cells), truth.shape)
    control = seen.control + rng.normal(0, 0.8 / np.sqrt(200), truth.shape)
    return truth, replace(seen, mean=drawn, control=control), rng


@pytest.mark.parametrize("cells", [10, 100])
def test_no_change_scores_one_exactly(cells):
    seen = observed(cells)
    found = nmse_corrected.score(
        inputs_of(seen, seen.control, seen.control_variance), nmse_corrected.Params(min_cells=2), RNG
    )
    values = [v.value for v in found if v.variant == "" and not v.missing]
    assert values == pytest.approx([1.0] * 31)
    assert found[30].se == pytest.approx(0.0, abs=1e-9)


def test_a_perfect_prediction_of_noiseless_means_scores_zero_in_every_condition():
    seen = exact(observed())
    found = nmse_corrected.score(inputs_of(seen, seen.mean), nmse_corrected.Params(), RNG)
    assert {v.value for v in found if v.variant == ""} == {0.0}


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7, -1.0])
def test_a_scaled_effect_misses_the_square_of_what_is_missing(factor):
    """ŷ = c̄ + aδ leaves (1 - a)²."""
    seen = exact(observed())
    inputs = inputs_of(seen, seen.control + factor * (seen.mean - seen.control))
    assert value(nmse_corrected, inputs).value == pytest.approx((1 - factor) ** 2, abs=1e-12)


@pytest.mark.parametrize("cells", [30, 200])
def test_the_truth_and_the_other_half_score_zero_within_standard_errors(cells):
    scores = []
    for seed in range(30):
        truth, seen, rng = sampled(seed, cells)
        half = truth + rng.normal(0, 0.8 / np.sqrt(cells), truth.shape)
        noise = np.full(truth.shape, 0.8**2 / cells)
        both = (inputs_of(seen, truth), inputs_of(seen, half, noise))
        scores.append([(found.value, found.se) for found in (value(nmse_corrected, one) for one in both)])
    values, errors = np.moveaxis(np.array(scores), 2, 0)
    assert (np.abs(values.mean(0)) < 4 * values.std(0) / np.sqrt(30)).all()
    # the standard errors are those of the values: their ratio has a relative error of 1/√60 = 13 %
    assert values.std(0) / errors.mean(0) == pytest.approx(1.0, abs=0.5)
    # without the correction the other half would miss as much as two samplings scatter
    uncorrected = value(nmse_corrected, inputs_of(seen, half))
    assert uncorrected.value > 4 * uncorrected.se


def test_the_ratio_is_of_sums_and_names_what_is_visible():
    seen = exact(observed())
    mean = seen.mean.copy()
    mean[0] += 1.0
    response = ((seen.mean - seen.control) ** 2).sum(1)
    found = value(nmse_corrected, inputs_of(seen, mean))
    assert found.value == pytest.approx(60.0 / response.sum())
    assert found.n == 30
    assert found.note == "median=0, visible=30"


def test_a_response_that_noise_hides_has_no_value():
    """The first half of the conditions is the control itself, observed on 30 cells."""
    _, seen, rng = sampled(0, 30, effect=1.0)
    nothing = seen.control + rng.normal(0, np.sqrt(0.8**2 / 30 + 0.8**2 / 200), (30, 60))
    half = replace(seen, mean=np.concatenate([nothing[:15], seen.mean[15:]]))
    found = nmse_corrected.score(inputs_of(half, half.control), nmse_corrected.Params(), RNG)
    missing = [v.missing == "weak_response" for v in found if v.variant == "" and v.perturbation]
    assert sum(missing[:15]) >= 13
    assert not any(missing[15:])
    hidden = replace(seen, mean=nothing)
    assert value(nmse_corrected, inputs_of(hidden, hidden.control)).missing == "weak_response"


def test_the_standard_error_leaves_out_each_condition_in_turn():
    truth, seen, _ = sampled(1, 100)
    whole = value(nmse_corrected, inputs_of(seen, truth))

    def without(row):
        keep = np.arange(30) != row
        names = ("mean", "sd", "control", "control_variance", "centroid", "panel", "cells")
        fewer = replace(seen, obs=SINGLES[keep], **{name: getattr(seen, name)[keep] for name in names})
        return value(nmse_corrected, inputs_of(fewer, truth[keep])).value

    each = np.array([without(row) for row in range(30)])
    assert whole.se == pytest.approx(np.sqrt(29 / 30 * ((each - each.mean()) ** 2).sum()))
    single = replace(seen, cells=np.where(np.arange(30) == 3, 100, 1))
    assert value(nmse_corrected, inputs_of(single, truth)).se is None
