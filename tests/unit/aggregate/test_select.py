"""Every rule's choice and its regret, from criteria in the training history or, without one, from scores."""

import itertools

import numpy as np
import pandas as pd
import pytest

from scident import contracts
from scident.aggregate.select import FIRST, curve, grids, select
from scident.selection import RULES

POINTS = ["penalty=1", "penalty=10", "penalty=100"]
# the lower nELBO is at penalty 1, the most stable is penalty 10, the best held-out bound is at penalty 100
CRITERIA = {
    "val_nelbo": [240.0, 241.0, 243.0],
    "stability": [0.3, 0.9, 0.8],
    "heldout_validation": [-250.0, -248.0, -247.0],
}
MCC = [0.4, 0.8, 0.7]
CHOICE = {"val_nelbo": 0, "stability": 1, "heldout_validation": 2, "stability+heldout_validation": 1}
"""Rule -> number of its point. Ranks are (2, 0, 1) and (2, 1, 0): both means 0.5, decided by stability."""


def plan(selection="stability", points=POINTS, replicates=(0,)):
    run = {"dataset": "d", "split": "s", "model": "m", "grid_points": list(points), "replicates": list(replicates)}
    metrics = {name: {"use": name, "variants": [""]} for name in ("mcc_pearson", "nelbo")}
    metrics |= {"target_f1": {"use": "target_f1", "variants": ["corrected", "released"]}}
    return {
        "config": {"selection": selection},
        "splits": {"s": {"protocol": "heldout"}},
        "metrics": metrics,
        "runs": [run],
    }


def history(criteria=CRITERIA, replicate=0, seeds=(0, 1)):
    rows = [
        ("d", "s", "m", f"r{replicate}.g{g}.s{seed}", 40, "select", name, value)
        for name, values in criteria.items()
        for g, value in enumerate(values)
        for seed in seeds
        if value is not None
    ]
    return pd.DataFrame(rows, columns=list(contracts.TABLES["curves"].columns))


def scores(metric="mcc_pearson", values=MCC, scope="iid", variant="", replicate=0, seeds=(0, 1)):
    base = {"dataset": "d", "split": "s", "model": "m", "metric": metric, "scope": scope, "variant": variant}
    base |= {"perturbation": None, "status": "ok", "replicate": replicate, "se": None, "n": 9, "reason": ""}
    base |= dict.fromkeys(contracts.HASHES, "")
    rows = [
        base | {"grid_point": POINTS[g], "seed": seed, "value": value + (seed - 0.5) * 0.1}
        for g, value in enumerate(values)
        for seed in seeds
    ]
    return pd.DataFrame(rows, columns=list(contracts.TABLES["scores"].columns))


def selected(found_scores, curves, benchmark):
    table = select(grids(found_scores, curves, benchmark), benchmark)
    return contracts.check_table(table, "selected")


def test_every_rule_has_its_choice_score_and_regret():
    found = selected(scores(), history(), plan()).set_index("rule")
    assert list(found.index) == list(RULES)
    assert {rule: POINTS.index(p) for rule, p in found["grid_point"].items()} == CHOICE
    # what a rule minimises: the ELBO, minus the agreement, minus the bound, the mean rank
    assert found["score"].to_dict() == pytest.approx(dict(zip(CHOICE, [240.0, -0.9, 247.0, 0.5], strict=True)))
    assert found["regret"].to_dict() == pytest.approx(dict(zip(CHOICE, [0.4, 0.0, 0.1, 0.0], strict=True)))
    assert found["range"].tolist() == pytest.approx([0.4] * 4)
    assert found["regret_f1"].isna().all()
    assert set(found["n_points"]) == {3}


def test_the_regret_in_target_f1_is_that_of_its_first_variant():
    truth = [scores(), scores("target_f1", [0.1, 0.2, 0.6], variant="corrected")]
    truth += [scores("target_f1", [0.9, 0.0, 0.0], variant="released")]
    found = selected(pd.concat(truth), history(), plan()).set_index("rule")
    assert found["regret_f1"].to_dict() == pytest.approx(dict(zip(CHOICE, [0.5, 0.4, 0.0, 0.4], strict=True)))
    assert found["regret"].to_dict() == pytest.approx(dict(zip(CHOICE, [0.4, 0.0, 0.1, 0.0], strict=True)))


def test_metrics_are_known_by_their_plugin_not_by_the_name_of_their_entry():
    renamed = plan("val_nelbo")
    renamed["metrics"] = {f"my {name}": metric for name, metric in renamed["metrics"].items()}
    truth = pd.concat([scores("my mcc_pearson"), scores("my target_f1", [0.1, 0.2, 0.6], variant="corrected"),
                       scores("my nelbo", [5.0, 3.0, 4.0], "val")])  # fmt: skip
    found = selected(truth, history({}), renamed)
    assert found[["rule", "grid_point"]].to_numpy().tolist() == [["val_nelbo", "penalty=10"]]
    assert found[["regret", "regret_f1", "range"]].to_numpy().tolist() == [pytest.approx([0.0, 0.4, 0.4])]
    assert set(curve(grids(truth, history({}), renamed))["criterion"]) == {"mcc_pearson", "target_f1", "val_nelbo"}


@pytest.mark.parametrize("rule", RULES)
def test_the_configured_rule_is_the_default(rule):
    found = selected(scores(), history(), plan(rule))
    assert found.loc[found["default"], "rule"].tolist() == [rule]


@pytest.mark.parametrize(
    ("lacking", "wanted", "left", "default"),
    [
        ("stability", "stability", {"val_nelbo", "heldout_validation"}, "heldout_validation"),
        ("stability", "stability+heldout_validation", {"val_nelbo", "heldout_validation"}, "heldout_validation"),
        ("heldout_validation", "stability+heldout_validation", {"val_nelbo", "stability"}, "stability"),
        ("heldout_validation", "stability", {"val_nelbo", "stability"}, "stability"),
        ("val_nelbo", "val_nelbo", set(RULES) - {"val_nelbo"}, "stability"),
    ],
)
def test_a_rule_without_its_criterion_is_left_out_and_the_next_is_the_default(lacking, wanted, left, default):
    found = selected(scores(), history({k: v for k, v in CRITERIA.items() if k != lacking}), plan(wanted))
    assert set(found["rule"]) == left
    assert found.loc[found["default"], "rule"].tolist() == [default]


def test_a_rule_chooses_among_the_points_where_its_criteria_are_known():
    found = selected(scores(), history(CRITERIA | {"stability": [0.3, None, 0.2]}), plan()).set_index("rule")
    assert set(found.index) == set(RULES)
    chosen = {rule: POINTS.index(p) for rule, p in found["grid_point"].items()}
    # by both: ranks are (0, 1) at penalty 1 and (1, 0) at penalty 100, decided by stability
    assert chosen == CHOICE | {"stability": 0, "stability+heldout_validation": 0}
    assert found.index[found["default"]].tolist() == ["stability"]


def test_a_grid_point_that_failed_is_no_candidate():
    found = selected(scores(), history({k: [None, *v[1:]] for k, v in CRITERIA.items()}), plan("val_nelbo"))
    assert found.loc[found["default"], "grid_point"].tolist() == ["penalty=10"]
    assert set(found["rule"]) == set(RULES)


def test_a_bound_of_minus_infinity_is_never_chosen():
    found = selected(scores(), history(CRITERIA | {"heldout_validation": [-250.0, -248.0, -np.inf]}), plan())
    found = found.set_index("rule")
    assert found.loc["heldout_validation", "grid_point"] == "penalty=10"


def test_without_a_history_the_validation_score_chooses():
    both = pd.concat([scores(), scores("nelbo", [5.0, 3.0, 4.0], "val")])
    found = selected(both, history({}), plan())
    assert found[["rule", "grid_point", "default"]].to_numpy().tolist() == [["val_nelbo", "penalty=10", True]]
    assert found["score"].tolist() == pytest.approx([3.0])


def test_the_history_goes_before_the_validation_score():
    both = pd.concat([scores(), scores("nelbo", [5.0, 3.0, 4.0], "val")])
    assert selected(both, history(), plan("val_nelbo")).query("default")["grid_point"].tolist() == ["penalty=1"]


def test_without_any_criterion_the_first_point_is_taken_and_says_so():
    found = selected(scores(), history({}), plan()).iloc[0]
    assert (found["rule"], found["grid_point"], found["default"]) == (FIRST, "penalty=1", True)
    assert np.isnan(found["score"])
    assert found["regret"] == pytest.approx(0.4)


def test_a_single_point_is_no_choice():
    found = selected(scores(values=[0.4]), history({}), plan(points=POINTS[:1])).iloc[0]
    assert (found["rule"], found["default"], found["n_points"], found["regret"]) == ("only", True, 1, 0.0)


def test_without_truth_the_regret_is_unknown():
    found = selected(scores(values=[]), history(), plan())
    assert found[["regret", "regret_f1", "range"]].isna().all(axis=None)


def test_a_tie_goes_to_the_first_point():
    found = selected(scores(), history({"stability": [0.5, 0.5, 0.5]}), plan()).iloc[0]
    assert found["grid_point"] == "penalty=1"


def test_replicates_choose_for_themselves():
    turned = {name: values[::-1] for name, values in CRITERIA.items()}
    curves = pd.concat([history(), history(turned, replicate=1)])
    truth = pd.concat([scores(), scores(replicate=1)])
    found = selected(truth, curves, plan(replicates=(0, 1))).query("default").set_index("replicate")
    assert found["grid_point"].to_dict() == {0: "penalty=10", 1: "penalty=10"}
    found = selected(truth, curves, plan("val_nelbo", replicates=(0, 1))).query("default").set_index("replicate")
    assert found["grid_point"].to_dict() == {0: "penalty=1", 1: "penalty=100"}
    assert found["regret"].to_dict() == pytest.approx({0: 0.4, 1: 0.1})


def test_rows_of_the_second_training_and_of_extra_members_choose_nothing():
    others = history({"stability": [9.0, 0.0, 0.0]}).assign(phase="retrain")
    curves = pd.concat([others, history(), others.assign(phase="train", member="r0.g0.v0")])
    pd.testing.assert_frame_equal(selected(scores(), curves, plan()), selected(scores(), history(), plan()))


@pytest.mark.parametrize("seed", range(3))
def test_order_of_rows_changes_nothing(seed):
    truth, curves = scores().sample(frac=1, random_state=seed), history().sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(selected(truth, curves, plan()), selected(scores(), history(), plan()))


def test_the_curve_holds_every_criterion_and_truth_of_models_with_a_choice():
    truth = pd.concat([scores(), scores("target_f1", [0.1, 0.2, 0.3], variant="corrected")])
    truth = pd.concat([truth, scores("target_f1", [0.9] * 3, variant="released"), scores(values=MCC, scope="ood")])
    found = contracts.check_table(curve(grids(truth, history(), plan())), "grid")
    wanted = {name: dict(zip(POINTS, values, strict=True)) for name, values in CRITERIA.items()}
    wanted |= {"mcc_pearson": dict(zip(POINTS, MCC, strict=True))}
    wanted |= {"target_f1": dict(zip(POINTS, (0.1, 0.2, 0.3), strict=True))}
    assert len(found) == 15
    for name, point in itertools.product(wanted, POINTS):
        row = found[(found["criterion"] == name) & (found["grid_point"] == point)]
        assert row["value"].tolist() == pytest.approx([wanted[name][point]])
    assert curve(grids(scores(values=[0.4]), history({}), plan(points=POINTS[:1]))).empty


def test_a_criterion_known_at_one_point_chooses_it():
    found = selected(scores(), history({"val_nelbo": [None, 2.0, None], "stability": [None, None, 0.5]}), plan())
    assert found[["rule", "grid_point", "default"]].to_numpy().tolist() == [
        ["stability", "penalty=100", True],
        ["val_nelbo", "penalty=10", False],
    ]
