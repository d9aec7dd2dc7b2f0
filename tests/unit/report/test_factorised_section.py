"""The section on blocks: heat maps, verdicts on clusters and tests, and what it takes over from the metrics."""

import re

import numpy as np
import pandas as pd
import pytest

from _html import cells
from scident import io, registry
from scident.aggregate.units import SELECTED
from scident.metrics import _clustering, _independence
from scident.report import factorised
from scident.report.view import Place, Tables

PLACE = Place("d", "s", "iid")
HERE = {"dataset": "d", "split": "s", "scope": "iid"}
USES = ("block_matrix", "nmi", "ami", "hsic_strat")
NULLS = [name for name, independent in factorised.HYPOTHESES.items() if independent]


def plan(**points):
    """Model -> its grid points; its label is the name in capitals."""
    models = {name: {"label": name.upper(), "role": "method", "grid_points": list(p)} for name, p in points.items()}
    return {"models": models, "metrics": {f"my-{use}": {"use": use, "label": use.upper()} for use in USES}}


ONE = plan(m=["default"])


def summary(values, metric, model="m", point="default", status="ok"):
    """Means by variant."""
    base = HERE | {"model": model, "grid_point": point, "metric": metric, "status": status}
    return [base | {"variant": variant, "mean": mean} for variant, mean in values.items()]


def scores(values, model="m", replicates=2, point="default"):
    """Score rows of the independence tests: variant -> one value for all replicates or one each."""
    base = HERE | {"model": model, "grid_point": point, "metric": "my-hsic_strat", "status": "ok"}
    return [
        base | {"seed": 0, "replicate": r, "perturbation": None, "variant": variant, "value": value}
        for variant, several in values.items()
        for r, value in enumerate(np.broadcast_to(several, replicates))
    ]


def tables(rows=(), tested=(), chosen=(("m", "default"),), n_points=1):
    empty = {name: io.empty_table(name) for name in Tables.__dataclass_fields__}
    selected = pd.DataFrame(
        [
            HERE | {"model": m, "replicate": r, "grid_point": point, "default": True, "n_points": n_points}
            for m, point in chosen
            for r in range(9)
        ]
    )
    given = {"summary": pd.DataFrame(list(rows)), "scores": pd.DataFrame(list(tested)), "selected": selected}
    return Tables(**empty | {name: frame for name, frame in given.items() if len(frame)})


def section(found, benchmark=ONE):
    return factorised.section(benchmark, found, PLACE, list(benchmark["models"]))


def test_hypotheses_and_level_are_those_of_the_tests():
    assert {h.name: h.independent for h in _independence.HYPOTHESES} == factorised.HYPOTHESES
    assert factorised.ALPHA == _independence.ALPHA


def test_expected_clusters_are_those_of_the_verdicts():
    assert {key: wanted != "null" for key, wanted in factorised.EXPECTED.items()} == _clustering.ABOVE


def test_metrics_report_every_variant_the_section_looks_up():
    blocks, hypotheses = factorised.BLOCKS, factorised.HYPOTHESES
    matrix = {f"{scale}:{b}<-{a}" for scale in ("within", "pooled") for b in blocks for a in blocks}
    clusters = {f"{b}:{label}{end}" for b, label in factorised.EXPECTED for end in ("", ":as_expected")}
    tests = {f"{name}:{part}" for name in hypotheses for part in ("effect", "p_holm")}
    for use, wanted in (("block_matrix", matrix), ("ami", clusters), ("nmi", clusters), ("hsic_strat", tests)):
        assert wanted <= set(registry.describe("metrics", use).variants), use


PLACES = {
    f"within:{b}<-{a}": (10 * i + j + 11) / 100
    for i, b in enumerate(factorised.BLOCKS)
    for j, a in enumerate(factorised.BLOCKS)
}
"""Row and column of each entry are the digits of its value."""


def drawn(svg):
    """Return the numbers of a heat map as they lie on the page: rows from the top, columns from the left."""
    pattern = r'<text [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>([\d.−]+|n/a)</text>'
    found = [(round(float(y)), float(x), text) for x, y, text in re.findall(pattern, svg)]
    rows = sorted({y for y, _, _ in found})
    return [[text for _, _, text in sorted(one for one in found if one[0] == row)] for row in rows]


def test_true_blocks_are_rows_and_learned_blocks_columns():
    found = section(tables(summary(PLACES, "my-block_matrix")))
    (ideal_name, ideal, identity), (name, caption, svg) = found.within
    assert (ideal, caption) == ("Ideal", "M")
    assert drawn(svg) == [["0.11", "0.12", "0.13"], ["0.21", "0.22", "0.23"], ["0.31", "0.32", "0.33"]]
    assert drawn(identity) == [["1.00", "0.00", "0.00"], ["0.00", "1.00", "0.00"], ["0.00", "0.00", "1.00"]]
    assert len({ideal_name, name}) == 2
    assert found.pooled == []


def test_pooled_matrices_have_no_ideal_and_missing_entries_are_said():
    rows = summary({"pooled:x<-x": 0.9}, "my-block_matrix")
    ((_, caption, svg),) = section(tables(rows)).pooled
    assert caption == "M"
    assert drawn(svg) == [["0.90", "n/a", "n/a"], ["n/a"] * 3, ["n/a"] * 3]


def test_models_without_blocks_have_no_matrix_and_a_grid_has_that_of_the_point_used():
    benchmark = plan(m=["a", "b"], plain=["default"])
    rows = [
        *summary({"within:x<-x": 0.2}, "my-block_matrix", point=SELECTED),
        *summary({"within:x<-x": 0.1}, "my-block_matrix", point="a"),
        *summary({"within:x<-x": None}, "my-block_matrix", model="plain", status="not_applicable"),
    ]
    ideal, (_, caption, svg) = section(tables(rows), benchmark).within
    assert (ideal[1], caption) == ("Ideal", "M")
    assert drawn(svg)[0][0] == "0.20"


def test_clusters_say_how_often_they_are_as_expected():
    rows = summary(
        {
            "x:context": 0.9, "x:context:as_expected": 1.0, "x:perturbation": 0.4, "x:perturbation:as_expected": 0.0,
            "t:context": 0.05, "t:context:as_expected": 0.8, "t:joint": 0.3,
        },
        "my-ami",
    )  # fmt: skip
    table = section(tables([*rows, *summary({"x:context": 0.1}, "my-nmi")])).clusters
    heading, row = cells(table)
    assert heading[:3] == ["AMI", "z_x by context should be high", "z_x by perturbation should be null"]
    shown = dict(zip(factorised.EXPECTED, row[1:], strict=True))
    assert {key: text for key, text in shown.items() if text} == {
        ("x", "context"): "0.90 as expected",
        ("x", "perturbation"): "0.40 not as expected",
        ("t", "context"): "0.05 as expected in 80%",
        ("t", "joint"): "0.30",
    }
    assert re.findall(r"small class='(\w+)'>(?:not )?as expected", table) == ["passed", "failed", "passed"]


def p_values(**changed):
    """Every statement of independence kept and every dependence found, but for what is changed."""
    kept = {f"{name}:p_holm": 1.0 if independent else 0.001 for name, independent in factorised.HYPOTHESES.items()}
    return kept | {f"{name}:effect": 0.25 for name in factorised.HYPOTHESES} | changed


def test_independence_tests_count_rejections_over_members():
    found = section(tables(tested=scores(p_values(**{"z_x-t|x:p_holm": [0.04, 0.06], "z_t-t:p_holm": [0.9, 0.01]}))))
    heading, row = cells(found.tests)
    assert heading[1] == "z_x ⟂ t | x"
    assert heading[5] == "z_x ⟂ z_t | x, t"
    assert heading[8] == "z_t ⟂̸ t"
    shown = dict(zip(factorised.HYPOTHESES, row[1:], strict=True))
    assert shown["z_x-t|x"] == "0.250 1 of 2 rejected"
    assert shown["z_t-t"] == "0.250 1 of 2 rejected"
    assert {shown[name] for name in NULLS[1:]} == {"0.250 0 of 2 rejected"}
    assert shown["z_x-x"] == "0.250 2 of 2 rejected"
    classes = dict(zip(factorised.HYPOTHESES, re.findall(r"small class='(\w+)'", found.tests), strict=True))
    assert {name for name, word in classes.items() if word == "failed"} == {"z_x-t|x", "z_t-t"}


def test_independence_tests_are_those_of_the_grid_point_used():
    rejected = p_values(**{f"{name}:p_holm": 0.001 for name in NULLS})
    tested = [*scores(rejected, point="a"), *scores(p_values(), point="b")]
    benchmark = plan(m=["a", "b"])
    table = section(tables(tested=tested, chosen=[("m", "b")], n_points=2), benchmark).tests
    assert "failed" not in table
    assert "2 of 2 rejected" in table


@pytest.mark.parametrize("metric", ["mcc", "my-block_matrix"])
def test_without_blocks_there_is_no_section(metric):
    rows = summary({"within:x<-x": None}, metric, status="not_applicable")
    assert section(tables(rows)) is None
