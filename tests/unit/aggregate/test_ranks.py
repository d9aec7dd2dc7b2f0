import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scident.aggregate import ranks

ROLES = {"a": "method", "b": "method", "c": "baseline", "floor": "negative_control", "oracle": "positive_control"}
PLAN = {
    "models": {m: {"role": role, "use": {"floor": "label_only"}.get(m, m)} for m, role in ROLES.items()},
    "metrics": {
        "mcc": {"better": "higher", "over": "member"},
        "loss": {"better": "lower", "over": "member"},
        "probe": {"better": "neither", "over": "member"},
    },
}


def units(values, metric="mcc", failed=(), scope="iid"):
    """Rows per model and replicate; `failed` names (model, replicate) whose seeds all failed."""
    return pd.DataFrame(
        [
            {
                "dataset": "d", "split": "s", "scope": scope, "metric": metric, "variant": "", "model": m,
                "replicate": r, "value": np.nan if (m, r) in failed else v,
                "n_ok": 0 if (m, r) in failed else 2, "n_failed": 2 if (m, r) in failed else 0,
            }
            for m, column in values.items()
            for r, v in enumerate(column)
        ]
    )  # fmt: skip


def noise(n, seed):
    return np.random.default_rng(seed).normal(0, 0.02, n)


def test_holm_matches_a_hand_computation():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1 is 0.04 0.06 0.06 0.04, made monotone 0.04 0.06 0.06 0.06
    found = ranks.holm(np.array([0.04, 0.01, 0.03, 0.02]))
    assert found == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_never_exceeds_one():
    assert ranks.holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]


def test_rank_biserial_of_one_loss_is_hand_computed():
    # ranks 1, 2, 3; the smallest is a loss: (2 + 3 - 1) / 6
    assert ranks.rank_biserial(np.array([-0.1, 0.2, 0.3])) == pytest.approx(4 / 6)


def test_paired_test_is_a_paired_t_below_13_units():
    a, b = noise(12, 0) + 0.01, noise(12, 1)
    assert ranks.paired_test(a - b, np.random.default_rng(0)) == (
        "paired t",
        pytest.approx(stats.ttest_rel(a, b).pvalue),
    )


def test_paired_test_is_wilcoxon_from_13_units():
    a, b = noise(13, 0) + 0.01, noise(13, 1)
    name, p = ranks.paired_test(a - b, np.random.default_rng(0))
    assert name == "Wilcoxon signed-rank"
    assert p == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue)


def test_paired_test_with_ties_uses_permutations():
    difference = np.array([0.0] + [0.1] * 12)
    _, p = ranks.paired_test(difference, np.random.default_rng(0))
    # twelve equal gains: all the same sign in 2 of 4096 flips; 9999 resamples add a standard error of 2e-4
    assert p == pytest.approx(2 / 4096, abs=1e-3)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_paired_test_of_constant_differences_needs_no_spread(value, p):
    assert ranks.paired_test(np.full(5, value), np.random.default_rng(0)) == ("paired t", p)


@pytest.mark.parametrize(
    ("p", "n", "words"),
    [
        (0.001, 1, "no claim (1 unit)"),
        (0.001, 4, "no claim (4 units)"),
        (0.001, 5, "separated (provisional, 5 units)"),
        (0.001, 9, "separated (provisional, 9 units)"),
        (0.001, 10, "separated"),
        (0.05, 10, "not separable"),
        (np.nan, 5, "not separable"),
    ],
)
def test_verdict_says_what_the_units_allow(p, n, words):
    assert ranks.verdict(p, n) == words


def test_compare_separates_the_clear_winner_and_not_the_close_second():
    n = 10
    found = ranks.compare(
        units({"a": 0.8 + noise(n, 0), "b": 0.795 + noise(n, 1), "c": 0.5 + noise(n, 2), "oracle": [1.0] * n}), PLAN
    ).set_index("other")
    assert set(found["best"]) == {"a"}
    assert set(found.index) == {"b", "c"}
    assert found["verdict"].to_dict() == {"b": "not separable", "c": "separated"}


def test_compare_adjusts_over_all_other_methods():
    n = 6
    a, b, c = 0.8 + noise(n, 0), 0.79 + noise(n, 1), 0.78 + noise(n, 2)
    found = ranks.compare(units({"a": a, "b": b, "c": c}), PLAN).set_index("other")
    best = found["best"].iloc[0]
    columns = {"a": a, "b": b, "c": c}
    raw = np.array([stats.ttest_rel(columns[best], columns[o]).pvalue for o in found.index])
    assert found["p"].to_numpy() == pytest.approx(raw)
    assert found["p_holm"].to_numpy() == pytest.approx(ranks.holm(raw))


def test_compare_gives_gains_in_favour_of_the_best_where_lower_is_better():
    found = ranks.compare(units({"a": [10.0] * 5 + noise(5, 0), "b": [20.0] * 5 + noise(5, 1)}, metric="loss"), PLAN)
    assert found.loc[0, "best"] == "a"
    assert found.loc[0, "difference"] == pytest.approx(10.0, abs=0.2)
    assert found.loc[0, "low"] < found.loc[0, "difference"] < found.loc[0, "high"]
    assert found.loc[0, "effect"] == 1.0


def test_compare_puts_the_prediction_that_stands_for_a_model_beside_the_baselines():
    plan = PLAN | {"metrics": {"delta": {"better": "higher", "over": "member", "needs": ["predictions"]}}}
    own = units({"a": 0.8 + noise(10, 0)}, metric="delta").assign(variant="counterfactual")
    none = units({"a": [np.nan] * 10}, metric="delta").assign(n_ok=0)
    other = units({"a": 0.9 + noise(10, 0)}, metric="delta").assign(variant="label_only")
    both = units({"b": 0.7 + noise(10, 1), "c": 0.5 + noise(10, 2)}, metric="delta")
    worse = units({"b": 0.1 + noise(10, 3)}, metric="delta").assign(variant="counterfactual")
    found = ranks.compare(pd.concat([own, none, other, both, worse], ignore_index=True), plan)
    beside = found[found["variant"] == ""].set_index("other")
    assert set(beside["best"]) == {"a"}
    assert beside["difference"].to_dict() == pytest.approx({"b": 0.1, "c": 0.3}, abs=0.03)
    assert set(beside["units"]) == {10}
    assert ranks.compare(own.assign(variant="counterfactual:de50"), plan).empty


def test_compare_ignores_descriptive_metrics_and_validation_cells():
    assert ranks.compare(units({"a": [1.0] * 5, "b": [0.0] * 5}, metric="probe"), PLAN).empty
    assert ranks.compare(units({"a": [1.0] * 5, "b": [0.0] * 5}, scope="val"), PLAN).empty


def test_compare_counts_a_failed_unit_as_the_floor():
    values = {"a": [0.8] * 5, "b": [0.7] * 5, "floor": [0.4] * 5}
    found = ranks.compare(units(values, failed={("b", 0)}), PLAN).iloc[0]
    assert found["units"] == 5
    # four gains of 0.1 and one of 0.8 - 0.4
    assert (found["low"] + found["high"]) / 2 == pytest.approx((4 * 0.1 + 0.4) / 5)


def test_compare_never_lets_a_failure_beat_a_result():
    values = {"a": [0.8] * 5, "b": [0.7] * 5, "c": [0.2] * 5, "floor": [0.4] * 5}
    found = ranks.compare(units(values, failed={("b", 0)}), PLAN).set_index("other")
    assert (found.loc["b", "low"] + found.loc["b", "high"]) / 2 == pytest.approx((4 * 0.1 + 0.6) / 5)


def test_compare_does_not_rank_what_mostly_failed():
    values = {"a": [0.8] * 5, "b": [0.9] * 5, "c": [0.5] * 5}
    found = ranks.compare(units(values, failed={("b", r) for r in range(3)}), PLAN).set_index("other")
    assert set(found["best"]) == {"a"}
    assert found.loc["b", "verdict"] == "not ranked (4/10 succeeded)"
    assert found.loc["c", "verdict"].startswith("separated")


def test_compare_of_one_replicate_claims_nothing():
    found = ranks.compare(units({"a": [0.8], "b": [0.1]}), PLAN).iloc[0]
    assert (found["verdict"], found["test"]) == ("no claim (1 unit)", "none")
    assert np.isnan(found["p_holm"])


def test_compare_of_failures_alone_is_empty():
    failed = {(m, r) for m in "ab" for r in range(5)}
    assert ranks.compare(units({"a": [0.8] * 5, "b": [0.1] * 5}, failed=failed), PLAN).empty


def test_compare_counts_a_failed_seed_of_a_unit_as_the_floor():
    frame = units({"a": [0.8] * 5, "b": [0.7] * 5, "floor": [0.4] * 5})
    half = (frame["model"] == "b") & (frame["replicate"] == 0)
    frame.loc[half, ["n_ok", "n_failed"]] = 1
    found = ranks.compare(frame, PLAN).iloc[0]
    # four gains of 0.1 and one of 0.8 - (0.7 + 0.4) / 2
    assert (found["low"] + found["high"]) / 2 == pytest.approx((4 * 0.1 + 0.25) / 5)
