"""Baselines of response prediction in closed form."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scident import expression
from scident.errors import NotApplicable
from scident.expression import Seen, log_normalised, moments
from scident.models import additive, context_mean, no_change, training_mean
from scident.types import Request

GENES = 5
CONTEXT = {"x": 1.0, "y": 2.0, "z": 4.0}
EFFECT = {"control": 0.0, "a": 0.5, "b": -1.0, "c": 2.0}


def cells(conditions, *, interaction=0.0, dose=None):
    """Cells whose expression is context + effect exactly; `conditions` maps (perturbation, context) to cells."""
    rows = [(p, x) for (p, x), n in conditions.items() for _ in range(n)]
    obs = pd.DataFrame(rows, columns=["perturbation", "context"], index=[f"c{i}" for i in range(len(rows))])
    obs["is_control"] = (obs["perturbation"] == "control").to_numpy()
    obs["perturbation"] = pd.Categorical(obs["perturbation"], categories=sorted(EFFECT))
    if dose is not None:
        obs["dose"] = dose
    values = [CONTEXT[x] + EFFECT[p] + interaction * (p == "a") * (x == "x") for p, x in rows]
    found = ad.AnnData(np.outer(values, np.arange(1, GENES + 1)), obs=obs)
    found.uns["observation"] = "normal"
    return found


def predict(module, name, seen, wanted, dose=None):
    """Return (perturbation, context) -> predicted mean of the first gene."""
    conditions = pd.DataFrame(wanted, columns=["perturbation", "context"])
    if dose is not None:
        conditions["dose"] = dose
    model = getattr(module, name)(module.Params(), 3)
    model.fit(seen, seen, np.random.default_rng(0))
    found = model.predict(Request(seen, seen[:0].copy(), conditions), np.random.default_rng(0))
    assert found.mean.shape == (len(found.obs), GENES)
    assert set(found.obs["kind"]) <= {""}
    np.testing.assert_allclose(found.mean, np.outer(found.mean[:, 0], np.arange(1, GENES + 1)))
    keys = zip(found.obs["perturbation"], found.obs["context"], strict=True)
    return dict(zip(keys, found.mean[:, 0], strict=True))


FULL = {(p, x): 4 for p in EFFECT for x in CONTEXT}


def test_no_change_is_the_control_mean_of_the_context():
    found = predict(no_change, "NoChange", cells(FULL), [("a", "x"), ("b", "z")])
    assert found == pytest.approx({("a", "x"): 1.0, ("b", "z"): 4.0})


def test_no_change_takes_all_controls_where_the_context_has_none():
    seen = cells({k: n for k, n in FULL.items() if k != ("control", "z")})
    assert predict(no_change, "NoChange", seen, [("a", "z")]) == pytest.approx({("a", "z"): 1.5})
    with pytest.raises(NotApplicable, match="no_control"):
        predict(no_change, "NoChange", cells({("a", "x"): 3}), [("a", "x")])


def test_training_mean_weighs_perturbations_and_context_mean_cells():
    seen = cells({**FULL, ("a", "x"): 10, ("b", "x"): 2, ("c", "x"): 1})
    centroid, cell = np.mean([1.5, 0.0, 3.0]), (10 * 1.5 + 2 * 0.0 + 3.0) / 13
    assert predict(training_mean, "TrainingMean", seen, [("b", "x")]) == pytest.approx({("b", "x"): centroid})
    assert predict(context_mean, "ContextMean", seen, [("b", "x")]) == pytest.approx({("b", "x"): cell})


def test_a_context_without_treated_cells_gets_the_mean_of_all():
    seen = cells({k: n for k, n in FULL.items() if k[1] != "z" or k[0] == "control"})
    everything = np.mean([CONTEXT[x] + EFFECT[p] for p in "abc" for x in "xy"])
    for module, name in ((training_mean, "TrainingMean"), (context_mean, "ContextMean")):
        assert predict(module, name, seen, [("a", "z")]) == pytest.approx({("a", "z"): everything})
        assert predict(module, name, cells({("control", "z"): 2}), [("a", "z")]) == {}


def test_additive_is_exact_where_effects_add():
    seen = cells({k: n for k, n in FULL.items() if k not in {("a", "x"), ("b", "z")}})
    found = predict(additive, "Additive", seen, [("a", "x"), ("b", "z"), ("c", "y")])
    assert found == pytest.approx({("a", "x"): 1.5, ("b", "z"): 3.0, ("c", "y"): 4.0})


def test_additive_misses_what_interacts_and_never_looks_at_its_own_context():
    full = cells(FULL, interaction=0.9)
    assert predict(additive, "Additive", full, [("a", "x")]) == pytest.approx({("a", "x"): 1.5})
    # the mean effect over x and z is 0.5 + 0.45
    assert predict(additive, "Additive", full, [("a", "y")]) == pytest.approx({("a", "y"): 2.95})


def test_additive_falls_back_on_its_own_context_and_else_says_nothing():
    seen = cells({("control", "x"): 3, ("a", "x"): 3, ("control", "y"): 3, ("b", "z"): 3}, interaction=0.9)
    wanted = [("a", "x"), ("c", "x"), ("b", "z"), ("b", "y")]
    assert predict(additive, "Additive", seen, wanted) == pytest.approx({("a", "x"): 2.4})


def test_additive_sums_the_effects_of_a_combinations_parts_unless_another_context_shows_it(monkeypatch):
    for label in ("a+b", "a+c", "d+b"):
        monkeypatch.setitem(EFFECT, label, 9.0)
    seen = cells({**FULL, ("a+b", "y"): 4})
    found = predict(additive, "Additive", seen, [("a+c", "x"), ("a+b", "x"), ("a+b", "y"), ("d+b", "x")])
    assert found == pytest.approx({("a+c", "x"): 1.0 + 0.5 + 2.0, ("a+b", "x"): 10.0, ("a+b", "y"): 2.0 + 0.5 - 1.0})


def test_means_of_cells_have_the_sampling_variance_of_their_cells():
    rng = np.random.default_rng(0)
    seen = cells({**FULL, ("a", "x"): 10, ("b", "x"): 3})
    seen.X = rng.normal(size=seen.shape)
    label, context = (seen.obs[name].astype(str).to_numpy() for name in ("perturbation", "context"))
    own = {p: seen.X[(label == p) & (context == "x")] for p in EFFECT}
    wanted = pd.DataFrame({"perturbation": ["a"], "context": ["x"]})
    noise = {p: x.var(0, ddof=1) / len(x) for p, x in own.items()}
    expected = {
        no_change.NoChange: noise["control"],
        training_mean.TrainingMean: (noise["a"] + noise["b"] + noise["c"]) / 9,
        context_mean.ContextMean: sum((len(own[p]) / 17) ** 2 * noise[p] for p in "abc"),
        additive.Additive: np.zeros(GENES),
    }
    for kind, variance in expected.items():
        found = kind(no_change.Params(), 3).predict(Request(seen, seen, wanted), rng)
        np.testing.assert_allclose(found.variance[0], variance)


def test_additive_reads_the_effect_at_the_same_dose_where_there_is_one():
    conditions = {("control", "x"): 2, ("control", "y"): 2, ("a", "x"): 2, ("a", "y"): 2}
    seen = cells(conditions, dose=[0.0] * 4 + [1.0, 10.0, 1.0, 10.0])
    seen.X[5] += 3.0 * np.arange(1, GENES + 1)  # a at dose 10 in x
    assert predict(additive, "Additive", seen, [("a", "y")], 10.0) == pytest.approx({("a", "y"): 5.5})
    assert predict(additive, "Additive", seen, [("a", "y")], 1.0) == pytest.approx({("a", "y"): 2.5})
    assert predict(additive, "Additive", seen, [("a", "y")], 7.0) == pytest.approx({("a", "y"): 4.0})


@pytest.mark.parametrize("rows", [1, 3, 1024])
def test_moments_are_those_of_log_normalised_expression(monkeypatch, rows):
    monkeypatch.setattr(expression, "ROWS", rows)
    rng = np.random.default_rng(0)
    seen = cells({("a", "x"): 7, ("a", "y"): 1, ("b", "x"): 5, ("control", "x"): 3})
    del seen.uns["observation"]
    seen.X = sparse.csr_matrix(rng.poisson(3.0, seen.shape).astype(np.float32))
    found = moments(seen, ~seen.obs["is_control"].to_numpy(), ["perturbation", "context"])
    assert found.obs.to_numpy().tolist() == [["a", "x"], ["a", "y"], ["b", "x"]]
    assert found.cells.tolist() == [7, 1, 5]
    x = log_normalised(seen)
    np.testing.assert_allclose(found.mean, [x[:7].mean(0), x[7], x[8:13].mean(0)])
    np.testing.assert_allclose(found.sd, [x[:7].std(0, ddof=1), np.zeros(GENES), x[8:13].std(0, ddof=1)], atol=1e-12)


def test_nothing_seen_has_no_moments():
    seen = Seen.of(cells({("control", "x"): 3}))
    assert seen.treated.mean.shape == (0, GENES)
    assert seen.centroid("x") is None
    assert seen.cells_mean("x") is None
