"""What the page says of the choice of a grid point."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from scident.report import choosing, figures

POINTS = ["penalty=1", "penalty=10", "penalty=100"]
METRICS = {
    "mine": {"label": "MCC <r>", "better": "higher", "use": "mcc_pearson"},
    "target_f1": {"label": "F1", "better": "higher", "use": "target_f1"},
}


def plan(points=POINTS, model="m", **more):
    entries = {model: {"label": "Alpha & Co", "grid_points": list(points)}} | more
    return {"models": entries, "metrics": METRICS}


def grid(values, model="m", points=POINTS):
    """Criterion -> one row of values per replicate."""
    return pd.DataFrame(
        [
            {"model": model, "replicate": r, "grid_point": points[g], "criterion": name, "value": value}
            for name, table in values.items()
            for r, row in enumerate(table)
            for g, value in enumerate(row)
        ]
    )


def selected(choices, used, regrets=None, f1=None, model="m", points=POINTS):
    """Rule -> number of its point in each replicate."""
    return pd.DataFrame(
        [
            {
                "model": model, "rule": rule, "replicate": r, "grid_point": points[g],
                "default": rule == (used if isinstance(used, str) else used[r]),
                "regret": np.nan if regrets is None else regrets[rule][r], "range": SPANS[r],
                "regret_f1": np.nan if f1 is None else f1[rule][r],
            }
            for rule, row in choices.items()
            for r, g in enumerate(row)
        ]
    )  # fmt: skip


CURVES = {"val_nelbo": [[3.0, 2.0, 1.0], [13.0, 12.0, 11.0]], "mcc_pearson": [[0.5, 0.8, 0.6], [0.5, 0.6, 0.7]]}
CHOICES = {"val_nelbo": [2, 2], "stability": [1, 2]}
SPANS = [0.3, 0.2]
REGRETS = {"val_nelbo": [0.2, 0.0], "stability": [0.0, 0.0]}


def shown(**more):
    arguments = {"plan": plan(), "grid": grid(CURVES), "selected": selected(CHOICES, "stability", REGRETS)} | more
    return choosing.choices(**arguments, slug="g")


def text(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_table_has_every_rule_with_its_points_and_regret():
    (choice,) = shown()
    assert "validation nELBO val_nelbo 100 (2) 0.100 at most 0.200" in text(choice.table)
    assert "agreement of seeds used stability 10 (1), 100 (1) 0.000 at most 0.000" in text(choice.table)


def test_regret_has_its_scale_beside_it():
    (choice,) = shown()
    assert "Regret in MCC grid spans 0.250" in text(choice.table)
    assert "target F1" not in choice.table


def test_table_has_the_regret_in_target_f1_where_it_is_known():
    known = {"val_nelbo": [0.5, 0.3], "stability": [0.1, 0.0]}
    (choice,) = shown(selected=selected(CHOICES, "stability", REGRETS, known))
    assert "Regret in target F1" in text(choice.table)
    assert "100 (2) 0.100 at most 0.200 0.400 at most 0.500" in text(choice.table)


def test_table_says_in_how_many_replicates_a_rule_was_used():
    (choice,) = shown(selected=selected(CHOICES, ["val_nelbo", "stability"], REGRETS))
    assert "validation nELBO used in 1 of 2" in text(choice.table)
    assert "agreement of seeds used in 1 of 2" in text(choice.table)


def test_table_without_truth_has_no_regret():
    without = {name: rows for name, rows in CURVES.items() if name == "val_nelbo"}
    (choice,) = shown(grid=grid(without), selected=selected(CHOICES, "stability"))
    assert "egret" not in choice.table
    assert "MCC" not in choice.svg
    assert not choice.truth


def test_figure_has_a_panel_per_criterion_and_a_row_per_rule():
    (choice,) = shown()
    assert choice.name == "g-m"
    for words in ("Validation negative ELBO, nats ↓", "MCC &lt;r&gt; ↑, seen by no rule", "validation nELBO",
                  "agreement of seeds", choosing.ORACLE_WORDS, ">penalty<", ">100<"):  # fmt: skip
        assert words in choice.svg, words
    assert "F1" not in choice.svg


def test_replicates_are_moved_to_their_common_mean_and_divergence_is_a_gap():
    wide = choosing._wide(grid({"val_nelbo": [[3.0, 2.0, -np.inf], [13.0, 12.0, 11.0]]}), POINTS)
    # means of the replicates: 2.5 and 12, of both: 7.25
    assert wide.loc[0].tolist()[:2] == pytest.approx([7.75, 6.75])
    assert np.isnan(wide.loc[0, "penalty=100"])
    assert wide.loc[1].tolist() == pytest.approx([8.25, 7.25, 6.25])


def test_strip_counts_replicates_and_ends_with_the_oracle():
    oracle = choosing._wide(grid({"mcc_pearson": CURVES["mcc_pearson"]}), POINTS)
    strip = choosing._strip(selected(CHOICES, "stability"), oracle)
    assert [(label, counts) for label, _, counts in strip] == [
        ("agreement of seeds", Counter({"penalty=10": 1, "penalty=100": 1})),
        ("validation nELBO", Counter({"penalty=100": 2})),
        (choosing.ORACLE_WORDS, Counter({"penalty=10": 1, "penalty=100": 1})),
    ]


def test_a_model_without_a_choice_is_not_shown():
    assert shown(plan=plan(points=["default"])) == []
    assert shown(selected=selected({}, "stability").reindex(columns=["model", "rule", "default"])) == []


def test_a_grid_without_criteria_has_a_table_alone():
    empty = grid({}).reindex(columns=["model", "replicate", "grid_point", "criterion", "value"])
    (choice,) = shown(grid=empty, selected=selected({choosing.FIRST: [0, 0]}, choosing.FIRST))
    assert choice.svg == ""
    assert "none applies: first point used first 1 (2)" in text(choice.table)


@pytest.mark.parametrize(
    ("grids", "title"),
    [
        ([["penalty=1", "penalty=2"]], "Choosing the penalty"),
        ([["n_hidden=1", "n_hidden=2"]], "Choosing the n hidden"),
        ([["a=1,b=2", "a=2,b=2"]], "Choosing the grid point"),
        ([["penalty=1", "penalty=2"], ["beta=1", "beta=2"]], "Choosing the grid point"),
    ],
)
def test_the_section_is_named_after_what_is_chosen(grids, title):
    found = []
    for points in grids:
        curves = grid({"val_nelbo": [[1.0, 2.0]]}, points=points)
        found += shown(
            plan=plan(points), grid=curves, selected=selected({"val_nelbo": [0]}, "val_nelbo", points=points)
        )
    assert choosing.title(found) == title


def test_training_curves_leave_out_criteria_and_extra_members_and_part_the_second_training():
    rows = [("m", "r0.g0.s0", e, phase, "val_nelbo", 5.0 - e) for e in range(3) for phase in ("train", "retrain")]
    rows += [("m", "r0.g0.s0", 3, "select", "stability", 0.9), ("m", "r0.g0.v0", 0, "train", "val_nelbo", 1e6)]
    curves = pd.DataFrame(rows, columns=["model", "member", "epoch", "phase", "quantity", "value"])
    drawn = figures.training_curves(curves, plan(), "c")
    assert [(name, caption) for name, caption, _ in drawn] == [
        ("c-val_nelbo", "val nelbo"),
        ("c-val_nelbo-retrain", "val nelbo, second training"),
    ]
    alone = figures.training_curves(curves[curves["member"] == "r0.g0.s0"], plan(), "c")
    assert drawn == alone
