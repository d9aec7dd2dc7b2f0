"""Response prediction in closed form: perfect, scaled, absent, incomplete."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from _responses import expression, predictions
from _worlds import member, value, world
from scident.errors import NotApplicable
from scident.metrics import _response, delta_pearson, delta_r2, pref_delta_pearson, response_r2
from scident.types import KINDS, Predictions

R2S = (response_r2, delta_r2)
CORRELATIONS = (delta_pearson, pref_delta_pearson)
ALL = (*R2S, *CORRELATIONS)
PAIRS = pd.DataFrame([(p, c) for c in ("x", "y") for p in ("a", "b", "g3")], columns=["perturbation", "context"])


def inputs_of(means, *kinds, seen=None, obs=PAIRS, **options):
    """Inputs whose observed means are random and whose predicted means are what `means` makes of them."""
    seen = expression(obs, np.random.default_rng(0), **options) if seen is None else seen
    plain = world(None, member(np.empty((8, 0))), n_perts=2)
    cells = plain.obs.assign(context=np.resize(["x", "y"], 8))
    given = replace(plain.member, predictions=predictions(seen, means(seen), *kinds))
    return replace(plain, obs=cells, expression=seen, members=(given,))


def singles(module, inputs, variant=""):
    found = module.score(inputs, module.Params(), np.random.default_rng(0))
    return {v.perturbation: v.value for v in found if v.variant == variant and v.perturbation is not None}


@pytest.mark.parametrize("module", ALL)
def test_a_perfect_prediction_scores_one(module):
    inputs = inputs_of(lambda seen: seen.mean)
    assert value(module, inputs).value == pytest.approx(1.0)
    assert singles(module, inputs) == pytest.approx({f"{c}/{p}": 1.0 for p, c in PAIRS.to_numpy()})


@pytest.mark.parametrize("factor", [0.1, 0.5, 3.0, -2.0])
def test_a_scaled_effect_has_the_r2_and_the_correlation_of_its_factor(factor):
    """δ̂ = aδ leaves (1 - a)² of the squared effect, and correlates by its sign."""
    inputs = inputs_of(lambda seen: seen.control + factor * (seen.mean - seen.control))
    assert value(delta_pearson, inputs).value == pytest.approx(np.sign(factor))
    effects = inputs.expression.mean - inputs.expression.control
    left = (1 - factor) ** 2 * (effects**2).sum(1) / (effects.var(1) * effects.shape[1])
    assert value(delta_r2, inputs).value == pytest.approx((1 - left).mean())
    beyond = inputs_of(lambda seen: seen.centroid + factor * (seen.mean - seen.centroid))
    assert value(pref_delta_pearson, beyond).value == pytest.approx(np.sign(factor))


def test_no_change_has_no_direction_and_explains_nothing_of_the_change():
    inputs = inputs_of(lambda seen: seen.control)
    assert value(delta_pearson, inputs).value == 0.0
    assert value(delta_r2, inputs).value <= 0.0
    assert max(singles(delta_r2, inputs).values()) <= 0.0
    assert value(response_r2, inputs).value > 0.5  # unperturbed genes carry it


def test_the_training_mean_earns_nothing_beyond_itself():
    inputs = inputs_of(lambda seen: seen.centroid)
    assert value(pref_delta_pearson, inputs).value == 0.0
    rounded = inputs_of(lambda seen: seen.centroid * (1 + 1e-15))
    assert value(pref_delta_pearson, rounded).value == 0.0


def test_a_prediction_of_the_mean_over_genes_has_r2_zero():
    inputs = inputs_of(lambda seen: np.repeat(seen.mean.mean(1, keepdims=True), seen.mean.shape[1], axis=1))
    assert value(response_r2, inputs).value == pytest.approx(0.0)


@pytest.mark.parametrize("seed", range(5))
def test_r2_is_that_of_scikit_learn(seed):
    """Acceptance test 11 of fcr.md."""
    rng = np.random.default_rng(seed)
    observed, predicted = rng.normal(3, 1, 40), rng.normal(3, 2, 40)
    assert _response.r2(observed, predicted) == pytest.approx(r2_score(observed, predicted))
    flat = np.full(40, 2.0)
    for guess in (flat, predicted):
        assert _response.r2(flat, guess) == r2_score(flat, guess)


def test_every_condition_weighs_the_same():
    inputs = inputs_of(lambda seen: seen.mean + np.arange(len(seen.mean))[:, None], cells=[30, 99, 400, 30, 31, 50])
    found = value(response_r2, inputs)
    own = singles(response_r2, inputs)
    observed = inputs.expression.mean
    by_hand = [r2_score(y, y + i) for i, y in enumerate(observed)]
    assert found.value == pytest.approx(np.mean(by_hand))
    assert list(own.values()) == pytest.approx(by_hand)
    assert found.n == 6
    assert f"median={np.median(by_hand):.4g}, sd={np.std(by_hand, ddof=1):.4g}" in found.note


def test_the_panel_restricts_sum_and_mean_to_its_genes():
    inputs = inputs_of(lambda seen: seen.mean + np.arange(60) / 10, panel=7)
    observed = inputs.expression.mean[:, :7]
    by_hand = [r2_score(y, y + np.arange(7) / 10) for y in observed]
    assert value(response_r2, inputs, "de50").value == pytest.approx(np.mean(by_hand))


def test_conditions_without_a_panel_are_left_out_of_it_alone():
    seen = expression(PAIRS, np.random.default_rng(0))
    panel = seen.panel.copy()
    panel[:2] = False
    inputs = inputs_of(lambda seen: seen.mean, seen=replace(seen, panel=panel))
    assert value(response_r2, inputs, "de50").n == 4
    assert value(response_r2, inputs).n == 6
    none = inputs_of(lambda seen: seen.mean, seen=replace(seen, panel=np.zeros_like(panel)))
    assert value(response_r2, none, "de50").missing == "no_panel"


def test_conditions_with_few_cells_are_left_out():
    inputs = inputs_of(lambda seen: seen.mean, cells=[29, 30, 31, 5, 1, 100])
    assert value(response_r2, inputs).n == 3
    module = response_r2
    found = module.score(inputs, module.Params(min_cells=1), np.random.default_rng(0))
    assert next(v.n for v in found if v.perturbation is None) == 6
    with pytest.raises(NotApplicable, match="too_few_cells"):
        value(module, inputs_of(lambda seen: seen.mean, cells=29))


def test_kinds_are_variants_and_those_not_given_are_missing():
    inputs = inputs_of(lambda seen: seen.mean, "counterfactual", "label_only")
    found = response_r2.score(inputs, response_r2.Params(), np.random.default_rng(0))
    whole = {v.variant: v for v in found if v.perturbation is None}
    assert set(whole) == set(response_r2.info.variants)
    given = {variant for variant, v in whole.items() if not v.missing}
    assert given == {"counterfactual", "counterfactual:de50", "label_only", "label_only:de50"}
    assert {whole[v].missing for v in set(whole) - given} == {"no_prediction"}


@pytest.mark.parametrize("module", ALL)
def test_every_kind_is_a_variant(module):
    assert {variant.partition(":")[0].removeprefix("de50") for variant in module.info.variants} == set(KINDS)
    assert set(module.info.shown) <= set(module.info.variants)


def test_a_method_is_not_scored_on_fewer_conditions_than_the_others():
    inputs = inputs_of(lambda seen: seen.mean)
    some = inputs.member.predictions
    fewer = replace(inputs.member, predictions=Predictions(some.obs.iloc[1:], some.mean[1:]))
    found = value(response_r2, replace(inputs, members=(fewer,)))
    assert found.missing == "incomplete_prediction"
    # a condition that nobody is scored on may be missing
    cells = inputs.expression.cells.copy()
    cells[-1] = 3
    small = replace(inputs, members=(fewer,), expression=replace(inputs.expression, cells=cells))
    assert value(response_r2, small).n == 5


@pytest.mark.parametrize(("module", "reference"), [(delta_pearson, "control"), (pref_delta_pearson, "centroid")])
def test_conditions_without_a_reference_are_left_out(module, reference):
    seen = expression(PAIRS, np.random.default_rng(0))
    known = getattr(seen, reference).copy()
    known[:3] = np.nan
    assert value(module, inputs_of(lambda seen: seen.mean, seen=replace(seen, **{reference: known}))).n == 3
    known[:] = np.nan
    with pytest.raises(NotApplicable, match=r"no_control|one_perturbation"):
        value(module, inputs_of(lambda seen: seen.mean, seen=replace(seen, **{reference: known})))


def test_the_gene_a_perturbation_names_is_left_out_of_the_correlation():
    """Here the prediction is right but for gene g3, the target of g3 and of g3+g5."""

    def means(seen):
        wrong = seen.mean.copy()
        wrong[:, 3] += 100.0
        return wrong

    obs = pd.DataFrame({"perturbation": ["a", "g3", "g3+g5"], "context": "x"})
    own = singles(delta_pearson, inputs_of(means, obs=obs))
    assert own["x/g3"] == pytest.approx(1.0)
    assert own["x/g3+g5"] == pytest.approx(1.0)
    assert own["x/a"] < 0.5


def test_attainable_is_the_r2_of_the_true_mean():
    """Means over n cells of sd s scatter by s²/n about the truth, whose own R² then is 1 - G s²/n / SS on average."""
    rng = np.random.default_rng(1)
    seen = expression(PAIRS.iloc[:1], rng, genes=4000, cells=50)
    truth = seen.mean
    noisy = truth + rng.normal(0, 0.8 / np.sqrt(50), truth.shape)
    found = value(response_r2, inputs_of(lambda _: truth, seen=replace(seen, mean=noisy)))
    attainable = float(found.note.rpartition("=")[2])
    # 1 - R² is a mean of 4000 squared normals: relative standard error √(2/4000) = 2.2 %
    assert 1 - found.value == pytest.approx(1 - attainable, rel=0.1)
    assert 0.8 < attainable < 0.999


def test_conditions_are_named_by_what_differs():
    one = inputs_of(lambda seen: seen.mean)
    assert set(singles(response_r2, replace(one, obs=one.obs.assign(context="x")))) == {"a", "b", "g3"}
    dosed = PAIRS.assign(dose=[1.0, 1.0, 1.0, 10.0, 10.0, 10.0])
    assert "y/b@10.0" in singles(response_r2, inputs_of(lambda seen: seen.mean, obs=dosed))


@pytest.mark.parametrize("module", ALL)
def test_a_model_without_predictions_says_so(module):
    inputs = inputs_of(lambda seen: seen.mean)
    bare = replace(inputs, members=(replace(inputs.member, predictions=None),))
    with pytest.raises(NotApplicable, match="no_prediction"):
        value(module, bare)
    with pytest.raises(NotApplicable, match="split_undefined"):
        value(module, replace(inputs, expression=None))
