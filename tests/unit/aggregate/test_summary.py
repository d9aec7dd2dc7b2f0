import numpy as np
import pandas as pd
import pytest

from scident import contracts
from scident.aggregate.intervals import SEED_SE, summary, t_interval
from scident.aggregate.units import SELECTED, at_selection, ceiling, floor_model, merge_notes, notes_of, per_unit


def rows(values, *, status="ok", reason="", **more):
    """One score row per (replicate, seed) -> value."""
    base = {"dataset": "d", "split": "s", "scope": "iid", "model": "m", "grid_point": "default", "metric": "mcc"}
    base |= {"variant": "", "perturbation": None, "se": None, "n": 10, "status": status, "reason": reason}
    base |= dict.fromkeys(contracts.HASHES, "") | more
    frame = pd.DataFrame([base | {"replicate": r, "seed": s, "value": v} for (r, s), v in values.items()])
    return contracts.check_table(frame[list(contracts.TABLES["scores"].columns)], "scores")


def test_summary_averages_seeds_before_replicates():
    scores = rows({(0, 0): 0.0, (0, 1): 1.0, (1, 0): 1.0})
    found = summary(scores).iloc[0]
    # units are 0.5 and 1.0; the plain mean of the three rows would be 2/3
    assert found["mean"] == pytest.approx(0.75)
    assert found["units"] == 2
    assert (found["low"], found["high"]) == pytest.approx(t_interval(np.array([0.5, 1.0])))
    assert found["sd_units"] == pytest.approx(np.sqrt(0.125))
    assert found["sd_seeds"] == pytest.approx(np.sqrt(0.5))


def test_summary_shows_failures_beside_successes():
    lost = rows({(1, 1): None}, status="failed", reason="oom")
    found = summary(pd.concat([rows({(0, 0): 0.5, (0, 1): 0.6, (1, 0): 0.7}, reason="mask"), lost])).iloc[0]
    assert (found["status"], found["n_ok"], found["n_total"]) == ("ok", 3, 4)
    assert found["reason"] == "mask;failed:oom"


def test_notes_are_averaged_or_listed():
    merged = merge_notes(["score_source=mask, base_rate=0.1", "score_source=shift, base_rate=0.2, odd", ""])
    assert merged == "score_source=mask/shift, base_rate=0.15, odd"
    assert notes_of(merged + ";failed:a, b") == {"score_source": "mask/shift", "base_rate": "0.15", "odd": ""}


def test_summary_counts_rows_that_apply():
    # a grid point that was selected in one replicate only has no fitted values in the others
    other = rows({(1, 0): None, (1, 1): None}, status="not_applicable", reason="not_retrained")
    found = summary(pd.concat([rows({(0, 0): 0.5, (0, 1): 0.6}), other])).iloc[0]
    assert (found["status"], found["n_ok"], found["n_total"], found["units"]) == ("ok", 2, 2, 1)
    assert summary(other).iloc[0][["status", "n_ok", "n_total"]].tolist() == ["not_applicable", 0, 0]


def test_summary_of_failures_alone_is_failed():
    found = summary(rows({(0, 0): None, (1, 0): None}, status="failed", reason="killed")).iloc[0]
    assert (found["status"], found["reason"], found["units"]) == ("failed", "killed", 0)
    assert np.isnan(found["mean"])


def test_summary_leaves_single_perturbations_out():
    scores = pd.concat([rows({(0, 0): 0.5}), rows({(0, 0): 9.0}, perturbation="p")])
    assert summary(scores)["mean"].tolist() == [0.5]


def test_summary_of_one_value_across_seeds_uses_its_standard_error():
    found = summary(rows({(0, None): 0.8}, se=0.05)).iloc[0]
    assert found["interval"] == SEED_SE
    assert (found["low"], found["high"]) == pytest.approx((0.75, 0.85))


def test_per_unit_counts_what_failed():
    scores = pd.concat([rows({(0, 0): 0.5}), rows({(0, 1): None}, status="failed", reason="oom")])
    found = per_unit(scores).iloc[0]
    assert (found["value"], found["n_ok"], found["n_failed"]) == (0.5, 1, 1)


def test_at_selection_follows_each_replicates_choice():
    scores = pd.concat(
        [rows({(0, 0): 0.1, (1, 0): 0.2}, grid_point="a"), rows({(0, 0): 0.3, (1, 0): 0.4}, grid_point="b")]
    )
    place = {"dataset": "d", "split": "s", "model": "m", "n_points": 2}
    used = pd.DataFrame({**place, "replicate": [0, 1], "grid_point": ["b", "a"], "default": True})
    other = pd.DataFrame({**place, "replicate": [0, 1], "grid_point": ["a", "a"], "default": False})
    selected = pd.concat([other, used])
    found = at_selection(scores, selected)
    assert sorted(found["value"]) == [0.2, 0.3]
    assert set(found["grid_point"]) == {SELECTED}


PLAN = {
    "models": {n: {"use": n} for n in ("pca", "label_only", "untrained", "oracle_noisy")},
    "metrics": {
        "mcc": {"over": "member", "better": "higher"},
        "loss": {"over": "member", "better": "lower"},
        "seed_mcc": {"over": "seeds", "better": "higher"},
    },
}
MEANS = pd.Series({"pca": 0.9, "label_only": 0.4, "untrained": 0.3, "oracle_noisy": 0.98})


def test_floor_is_the_best_of_those_that_cannot_know():
    assert floor_model(MEANS, PLAN, "mcc") == "label_only"
    assert floor_model(MEANS, PLAN, "loss") == "untrained"
    assert floor_model(MEANS[["pca"]], PLAN, "mcc") is None


def test_floor_of_stability_is_the_untrained_model():
    assert floor_model(MEANS, PLAN, "seed_mcc") == "untrained"


def test_floor_of_response_prediction_is_the_best_mean_of_seen_cells():
    plan = {
        "models": {name: {"use": name} for name in ("fcr", "label_only", "additive", "no_change")},
        "metrics": {"delta_r2": {"over": "member", "better": "higher", "needs": ["predictions", "labels"]}},
    }
    means = pd.Series({"fcr": 0.6, "label_only": 0.9, "additive": 0.4, "no_change": -0.1})
    assert floor_model(means, plan, "delta_r2") == "additive"


def test_ceiling_is_the_noisy_oracle_or_one_for_stability():
    assert ceiling(MEANS, PLAN, "mcc") == 0.98
    assert ceiling(MEANS, PLAN, "seed_mcc") == 1.0
    assert np.isnan(ceiling(MEANS[["pca"]], PLAN, "mcc"))


def test_ceiling_of_response_prediction_is_the_half_split():
    plan = {
        "models": {name: {"use": name} for name in ("fcr", "oracle_noisy", "half_split")},
        "metrics": {"nmse": {"over": "member", "better": "lower", "needs": ["predictions", "labels"]}},
    }
    assert ceiling(pd.Series({"fcr": 0.6, "oracle_noisy": -1.0, "half_split": 0.02}), plan, "nmse") == 0.02
