"""What the report says of single conditions: which respond visibly, and how well each is predicted."""

import re

import pandas as pd

from scident import io
from scident.report import visible
from scident.report.view import Place, Tables

PLACE = Place("d", "s", "ood")
HERE = {"dataset": "d", "split": "s", "scope": "ood", "grid_point": "default", "seed": 0}


def model(label, use, role):
    return {"label": label, "use": use, "role": role}


PLAN = {
    "models": {
        "mine": model("Mine", "cond_vae", "method"),
        "line": model("Additive", "additive", "baseline"),
        "half": model("half split", "half_split", "positive_control"),
        "none": model("no change", "no_change", "negative_control"),
    },
    "metrics": {
        "error": {"use": "nmse_corrected", "label": "Error"},
        "r": {"use": "delta_pearson", "label": "Delta r"},
    },
}


def row(name, of, metric, value, *, variant="", replicate=0, status="ok", reason=""):
    known = {"model": name, "perturbation": of, "metric": metric, "variant": variant, "replicate": replicate}
    return HERE | known | {"value": value, "status": status, "reason": reason}


def judged(of, *visible_in):
    """Rows of the reference: in which replicates the response of a condition is visible."""
    status = {True: "ok", False: "not_applicable"}
    return [row("none", of, "error", 1.0, replicate=r, status=status[ok]) for r, ok in enumerate(visible_in)]


def section(*rows):
    scores = pd.DataFrame(list(rows), columns=list(row("", "", "", 0.0)))
    chosen = scores[["dataset", "split", "model", "replicate", "grid_point"]].drop_duplicates()
    chosen = chosen.assign(default=True, n_points=1)
    empty = {name: io.empty_table(name) for name in Tables.__dataclass_fields__}
    return visible.section(PLAN, Tables(**empty | {"scores": scores, "selected": chosen}), PLACE)


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_conditions_visible_in_most_replicates_are_counted_and_named():
    rows = [*judged("A", True, True, False), *judged("B", True, False, False), *judged("C", True, True, True)]
    found = section(*rows)
    assert found.sentence == "2 of 3 conditions respond visibly: A, C."
    assert found.scope == "held-out conditions"
    assert found.svg == ""  # nobody is correlated with anything


def test_none_visible_says_that_nothing_can_be_judged():
    assert section(*judged("A", False)).sentence.startswith("0 of 1 condition respond visibly: on these cells no")


def test_of_many_visible_conditions_some_are_named():
    found = section(*(row for name in "ABCDEFGH" for row in judged(name, True)))
    assert found.sentence == "8 of 8 conditions respond visibly: A, B, C, D, E, F and 2 more."


def test_conditions_stand_visible_first_then_by_the_half_split_with_every_model_but_negative_controls():
    rows = [*judged("A", True), *judged("B", True), *judged("C", False)]
    halves = {"A": 0.5, "B": 0.9, "C": 0.95}
    rows += [row(name, of, "r", value) for of, value in halves.items() for name in ("half", "none", "line")]
    rows += [row("mine", of, "r", value, variant="counterfactual") for of, value in halves.items()]
    rows += [row("mine", "A", "r", 0.2, variant="reconstruction")]
    found = texts(section(*rows).svg)
    assert [name for name in found if name in halves] == ["B", "A", "C"]
    assert {"half split", "Additive", "Mine", "Delta r ↑"} <= set(found)
    assert "no change" not in found


def test_values_are_means_over_replicates_and_seeds_of_the_prediction_that_stands_for_a_model():
    rows = [row("mine", "A", "r", value, replicate=r) for r, value in enumerate((0.2, 0.4))]
    rows += [row("line", "A", "r", value, variant=kind) for value, kind in ((0.5, "counterfactual"), (0.7, ""))]
    rows += [row("line", "B", "r", 0.9, status="failed")]
    found = visible._correlations(PLAN, pd.DataFrame(rows))
    assert found.round(6).to_dict() == {"mine": {"A": 0.3}, "line": {"A": 0.7}}


def test_without_scores_of_single_conditions_there_is_no_section():
    assert section(row("mine", None, "r", 0.3), row("none", None, "error", 1.0)) is None
