"""Variants are paired with the model they vary, predictions with the additive ones: arithmetic and who is paired."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scident import contracts
from scident.aggregate.contrasts import bases_of, contrasts
from scident.aggregate.units import per_unit

KEYS = ["metric", "model", "variant", "reference", "reference_variant"]
NEEDS = {"mcc": ["latents", "truth"], "delta": ["predictions", "labels"], "nelbo": ["likelihood"]}


def plan(*entries, **named):
    """Entries as name, plug-in file and, of an ablation, the file it ablates; and what entries say to compare with."""
    models = {name: {"use": use, "of": of[0] if of else ""} for name, use, *of in entries}
    config = {"models": {name: {"compared_with": named.get(name)} for name in models}}
    return {"config": config, "models": models, "metrics": {name: {"needs": needs} for name, needs in NEEDS.items()}}


FAMILY = plan(("full", "fcr"), ("bare", "fcr_noperm", "fcr"))


def rows(model, values, metric="mcc", variant="", scope="iid"):
    """Score rows of values by (replicate, seed); without a value: failed."""
    base = {"dataset": "d", "split": "s", "scope": scope, "model": model, "grid_point": "default", "metric": metric}
    base |= {"variant": variant, "perturbation": None, "se": None, "n": 20, "reason": ""}
    base |= dict.fromkeys(contracts.HASHES, "")
    found = [
        base | {"replicate": r, "seed": s, "value": v, "status": "failed" if v is None else "ok"}
        for (r, s), v in values.items()
    ]
    return pd.DataFrame(found, columns=list(contracts.TABLES["scores"].columns))


def level(value, replicates=3):
    """Replicates differ by far more than models do."""
    return {(r, 0): value + 100.0 * r for r in range(replicates)}


def found(benchmark, *tables):
    table = contrasts(per_unit(pd.concat(tables)), benchmark)
    return contracts.check_table(table, "differences") if len(table) else table


def pairs(table):
    return table.set_index(KEYS)["difference"].to_dict()


def test_a_difference_is_the_mean_over_replicates_after_that_over_seeds():
    full = {(0, 0): 1.0, (0, 1): 3.0, (1, 0): 5.0, (2, 0): 2.0}
    bare = {(0, 0): 1.0, (1, 0): 2.0, (1, 1): 4.0, (2, 0): 6.0}
    (row,) = found(FAMILY, rows("full", full), rows("bare", bare)).to_dict("records")
    # bare minus full: 1 - 2, 3 - 5, 6 - 2
    assert (row["model"], row["reference"], row["units"]) == ("bare", "full", 3)
    assert row["difference"] == pytest.approx(1 / 3)
    interval = stats.ttest_1samp([-1, -2, 4], 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))


def test_what_moves_whole_replicates_moves_no_difference():
    (row,) = found(FAMILY, rows("full", level(1.0)), rows("bare", level(1.5))).to_dict("records")
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((0.5, 0.5, 0.5))


def test_replicates_with_one_side_alone_do_not_count():
    bare = {(0, 0): 2.0, (1, 0): None, (2, 0): 204.0, (3, 0): 9e9}
    table = found(FAMILY, rows("full", level(1.0)), rows("bare", bare))
    assert table[["units", "difference"]].to_numpy().tolist() == [[2, pytest.approx(2.0)]]


def test_one_replicate_has_no_interval():
    (row,) = found(FAMILY, rows("full", level(1.0, 1)), rows("bare", level(0.0, 1))).to_dict("records")
    assert (row["units"], row["difference"]) == (1, -1.0)
    assert np.isnan([row["low"], row["high"]]).all()


def test_without_a_common_replicate_there_is_no_row():
    assert found(FAMILY, rows("full", {(0, 0): 1.0}), rows("bare", {(1, 0): 1.0})).empty


def test_variants_and_scopes_are_paired_each_with_its_own():
    tables = [
        rows(model, level(value + step), variant=variant, scope=scope)
        for model, value in (("full", 0.0), ("bare", 1.0))
        for step, (variant, scope) in enumerate([("within", "iid"), ("within:prior_only", "iid"), ("within", "ood")])
    ]
    table = found(FAMILY, *tables, rows("bare", level(9.0), variant="pooled"))
    assert (table["variant"] == table["reference_variant"]).all()
    assert table[["scope", "variant"]].to_numpy().tolist() == [
        ["iid", "within"],
        ["iid", "within:prior_only"],
        ["ood", "within"],
    ]
    assert table["difference"].tolist() == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("entries", "bases"),
    [
        ([("a", "fcr"), ("b", "fcr"), ("c", "fcr_sim", "fcr")], {"b": "a", "c": "a"}),
        ([("c", "fcr_sim", "fcr"), ("b", "fcr"), ("a", "fcr")], {"c": "b", "a": "b"}),
        ([("c", "fcr_sim", "fcr"), ("d", "fcr_sim", "fcr")], {"d": "c"}),
        ([("fcr", "vae"), ("c", "fcr_sim", "fcr")], {}),
        ([("a", "pca"), ("b", "vae")], {}),
    ],
)
def test_the_base_is_the_first_entry_of_the_file_ablated_or_shared(entries, bases):
    assert bases_of(plan(*entries)) == bases


def test_an_entry_may_name_its_base():
    entries = ("a", "fcr"), ("b", "fcr"), ("c", "fcr_sim", "fcr"), ("d", "pca")
    assert bases_of(plan(*entries, c="b", d="a")) == {"b": "a", "c": "b", "d": "a"}


PREDICTED = plan(("line", "additive"), ("full", "fcr"), ("bare", "fcr_noperm", "fcr"), ("mean", "training_mean"))


def test_every_kind_of_prediction_is_paired_with_the_additive_one_on_the_same_genes():
    tables = [
        rows(model, level(value), "delta", variant)
        for model, values in {
            "line": {"": 0.0, "de50": 10.0},
            "full": {"counterfactual": 1.0, "counterfactual:de50": 12.0, "label_only": 3.0, "reconstruction": 9.0},
            "mean": {"": -1.0, "de50": 10.5},
        }.items()
        for variant, value in values.items()
    ]
    assert pairs(found(PREDICTED, *tables)) == pytest.approx(
        {
            ("delta", "full", "counterfactual", "line", ""): 1.0,
            ("delta", "full", "counterfactual:de50", "line", "de50"): 2.0,
            ("delta", "full", "label_only", "line", ""): 3.0,
            ("delta", "mean", "", "line", ""): -1.0,
            ("delta", "mean", "de50", "line", "de50"): 0.5,
        }
    )


def test_predictions_of_an_ablation_have_both_references():
    values = {"line": ("", 0.0), "full": ("counterfactual", 2.0), "bare": ("counterfactual", 1.5)}
    table = found(PREDICTED, *(rows(m, level(v), "delta", variant) for m, (variant, v) in values.items()))
    own = pairs(table[table["model"] == "bare"])
    assert own == pytest.approx(
        {
            ("delta", "bare", "counterfactual", "full", "counterfactual"): -0.5,
            ("delta", "bare", "counterfactual", "line", ""): 1.5,
        }
    )


def test_metrics_of_latents_are_not_compared_with_additive_predictions():
    assert found(PREDICTED, rows("line", level(0.0)), rows("mean", level(1.0))).empty


def test_a_second_additive_entry_is_paired_once():
    benchmark = plan(("line", "additive"), ("again", "additive"))
    table = found(benchmark, rows("line", level(0.0), "delta"), rows("again", level(1.0), "delta"))
    assert pairs(table) == {("delta", "again", "", "line", ""): pytest.approx(1.0)}
    assert len(table) == 1


def test_likelihoods_of_held_out_perturbations_are_left_to_differences():
    tables = [
        rows(model, level(0.0), "nelbo", variant, scope)
        for model in ("full", "bare")
        for variant, scope in (("", "iid"), ("zero_shot", "ood"), ("finetuned_half", "ood"))
    ]
    assert found(FAMILY, *tables)[["scope", "variant"]].to_numpy().tolist() == [["iid", ""]]


def test_order_of_rows_changes_nothing():
    tables = pd.concat([rows(m, level(v), "delta", "counterfactual") for m, v in (("full", 0.0), ("bare", 1.0))])
    pd.testing.assert_frame_equal(found(FAMILY, tables.iloc[::-1]), found(FAMILY, tables))
