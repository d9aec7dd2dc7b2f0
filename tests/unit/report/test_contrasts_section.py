"""The tables of paired differences: variants against the model they vary, predictions against the additive ones."""

import pandas as pd
import pytest

import _synthetic
from _html import cells
from scident import io
from scident.aggregate.units import SELECTED
from scident.report import contrasts, heldout
from scident.report.view import Place, Tables
from scident.stages import aggregate

PLACE = Place("d", "s", "iid")
HERE = {"dataset": "d", "split": "s", "scope": "iid"}


def model(label, use, of="", points=("default",)):
    return {"label": label, "use": use, "of": of, "grid_points": list(points)}


def metric(label, variants, *, better="higher", shown=(), needs=("latents",)):
    return {"label": label, "variants": list(variants), "shown": list(shown), "better": better, "needs": list(needs)}


PLAN = {
    "config": {"models": {}},
    "models": {
        "line": model("Additive", "additive"),
        "full": model("Full & Co", "fcr", points=("a", "b")),
        "bare": model("Bare", "fcr_noperm", "fcr"),
    },
    "metrics": {
        "mcc": metric("MCC", ["within", "within:spearman", "pooled"], shown=["within", "pooled"]),
        "off": metric("Off", ["within"], better="neither"),
        "nelbo": metric("nELBO", ["", "zero_shot"], better="lower"),
        "r2": metric("R²", ["", "de50"], needs=("predictions",)),
        "delta": metric("Delta", [""], needs=("predictions",)),
    },
}


def difference(model, name, variant="", value=0.1, reference="full", reference_variant=None, half=0.2, **more):
    known = {"reference_variant": variant if reference_variant is None else reference_variant, "perturbation": None}
    ends = {"low": value - half, "high": value + half, "units": 3}
    names = {"model": model, "metric": name, "variant": variant, "reference": reference}
    return HERE | names | known | {"difference": value} | ends | more


def mean(model, name, variant="", value=0.5, point="default", status="ok"):
    names = {"model": model, "metric": name, "variant": variant, "grid_point": point}
    return HERE | names | {"mean": value, "status": status}


def tables(differences=(), summary=()):
    empty = {name: io.empty_table(name) for name in Tables.__dataclass_fields__}
    given = {"differences": pd.DataFrame(list(differences)), "summary": pd.DataFrame(list(summary))}
    return Tables(**empty | {name: frame for name, frame in given.items() if len(frame)})


def variants(*rows):
    table = contrasts.variants(PLAN, tables(rows), PLACE)
    return None if table is None else cells(table)


def test_a_variant_has_its_differences_to_the_model_it_varies():
    heading, row = variants(
        difference("bare", "mcc", "within", 0.1),
        difference("bare", "mcc", "pooled", -0.3),
        difference("bare", "nelbo", value=2.0, half=0.5),
    )
    assert heading == ["Variant", "MCC ↑ within", "MCC ↑ pooled", "nELBO ↓"]
    assert row == ["Bare minus Full &amp; Co", "+0.10 [−0.10, +0.30]", "−0.30 [−0.50, −0.10]", "+2.00 [+1.50, +2.50]"]


def test_variants_no_table_shows_and_descriptions_are_left_out():
    others = [difference("bare", "mcc", "within:spearman"), difference("bare", "off", "within")]
    assert variants(*others) is None
    assert variants(*others, difference("bare", "mcc", "within"))[0] == ["Variant", "MCC ↑ within"]


def test_differences_to_another_reference_and_of_single_perturbations_are_no_variants():
    assert variants() is None
    assert variants(difference("full", "nelbo", reference="line")) is None
    assert variants(difference("bare", "delta", reference="line")) is None
    assert variants(difference("bare", "nelbo", perturbation="p")) is None


def test_one_replicate_says_so_instead_of_an_interval():
    assert variants(difference("bare", "mcc", "within", low=None, high=None))[1][1] == "+0.10 one replicate"


def predicted(differences, summary):
    table = contrasts.predictions(PLAN, tables(differences, summary), PLACE)
    return None if table is None else cells(table)


def test_predictions_stand_by_model_and_kind_beside_their_difference_to_the_additive():
    heading, *rows = predicted(
        [
            difference("bare", "r2", "counterfactual", 0.2, "line", "", half=0.1),
            difference("bare", "r2", "counterfactual:de50", -0.1, "line", "de50", low=None),
            difference("bare", "r2", "counterfactual", 9.0, "full"),
        ],
        [
            mean("bare", "r2", "reconstruction", 0.9),
            mean("bare", "r2", "counterfactual", 0.7),
            mean("bare", "r2", "counterfactual:de50", 0.4),
            mean("line", "r2", "", 0.5),
            mean("line", "delta", "", 0.3),
            mean("bare", "mcc", "within", 0.8),
        ],
    )
    assert heading == ["Model", "R² ↑ all genes", "R² ↑ 50 genes that change most", "Delta ↑ all genes"]
    assert rows == [
        ["Additive condition mean", "0.50", "", "0.30"],
        [
            "Bare P2: counterfactual, from control cells",
            "0.70 +0.20 [+0.10, +0.30]",
            "0.40 −0.10",
            "",
        ],
        ["Bare P1: reconstruction of the scored cells, no prediction", "0.90", "", ""],
    ]


def test_predictions_are_those_of_the_selected_grid_point():
    points = [mean("full", "r2", "", value, point) for value, point in ((0.1, "a"), (0.2, SELECTED), (0.3, "b"))]
    assert predicted([], points)[1:] == [["Full &amp; Co condition mean", "0.20"]]


def test_without_a_value_there_is_no_table_of_predictions():
    assert predicted([], [mean("line", "mcc", "within")]) is None
    assert predicted([], [mean("line", "r2", status="failed")]) is None


@pytest.mark.parametrize("of", ["", "svae_plus"])
def test_an_ablation_leaves_the_table_of_held_out_perturbations_as_it_is(tmp_path, of):
    plan = _synthetic.plan(replicates=2, seeds=1)
    plan["metrics"] = {name: plan["metrics"][name] for name in ("mcc_pearson", "nelbo")}
    plan["models"] = {name: plan["models"][name] for name in _synthetic.TRAINED}
    plan["runs"] = [run for run in plan["runs"] if run["model"] in _synthetic.TRAINED]
    plan["models"]["vae"]["of"] = of
    _synthetic.tree(tmp_path, plan, fail="none")
    aggregate.run(plan, tmp_path, tmp_path / "aggregate")
    found = Tables.read(tmp_path / "aggregate")
    (bound,) = heldout.bounds(plan, found, "sparse-shift", "unseen_perturbation", list(plan["models"]))
    references = [row[0] for row in cells(bound.table) if "reference" in row]
    assert references == ["iVAE (released)"]
    table = contrasts.variants(plan, found, Place("sparse-shift", "unseen_perturbation", "iid"))
    assert (table is not None) is bool(of)
    if table is not None:
        heading, row = cells(table)
        assert heading[1:] == ["MCC (Pearson) ↑", "Negative ELBO ↓"]
        assert row[0] == "VAE minus sVAE+"
