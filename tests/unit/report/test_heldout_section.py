"""The tables of held-out perturbations, from a synthetic benchmark: every model has a value or its reason."""

import re

import pandas as pd
import pytest

import _synthetic
from scident import io
from scident.report import heldout
from scident.report.view import Tables
from scident.stages import aggregate

MODELS = list(_synthetic.MODELS)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heldout")
    plan = _synthetic.plan(replicates=3)
    _synthetic.tree(folder, plan, fail="none")
    aggregate.run(plan, folder, folder / "aggregate")
    return plan, Tables.read(folder / "aggregate")


def shown(plan, tables):
    return heldout.bounds(plan, tables, "sparse-shift", "unseen_perturbation", MODELS)


def cells(table):
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table, flags=re.DOTALL)
    split = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in split if row]


def test_both_bounds_have_a_table_with_the_reference_in_its_heading(benchmark):
    found = shown(*benchmark)
    assert [(b.label, b.better) for b in found] == [("IWELBO", "higher"), ("Negative ELBO", "lower")]
    heading, *rows = cells(found[0].table)
    assert heading == [
        "Model",
        "Before fitting",
        "After fitting",
        "Gained by fitting",
        "Minus iVAE (released) before fitting",
        "Minus iVAE (released) after fitting",
    ]
    assert [row[0] for row in rows] == ["sVAE+", "iVAE (released)", "VAE"]


def test_values_are_those_of_the_tables(benchmark):
    plan, tables = benchmark
    svae, ivae, vae = cells(shown(plan, tables)[0].table)[1:]
    assert svae[3].startswith("+0.60 [")
    assert ivae[4:] == ["reference", "reference"]
    assert vae[2:4] == ["n/a nothing to fit", ""]
    rows = tables.differences.query("metric == 'iwelbo' and model == 'vae' and scope == 'ood' and perturbation.isna()")
    for column, variant in ((4, "zero_shot"), (5, "finetuned_half")):
        (row,) = rows[rows["reference_variant"] == variant].to_dict("records")
        assert vae[column].startswith(f"{row['difference']:+.2f} [".replace("-", "−"))


def test_models_without_a_bound_are_listed_with_the_reason_in_words(benchmark):
    ((models, why),) = shown(*benchmark)[0].absent
    assert why == "the model has no likelihood of its own"
    assert set(models.split(", ")) == {label for name, (label, _, _) in _synthetic.MODELS.items()
                                       if name not in _synthetic.TRAINED}  # fmt: skip


def test_nothing_is_shown_where_no_model_has_a_bound(benchmark):
    plan, tables = benchmark
    summary = tables.summary[~tables.summary["metric"].isin(["iwelbo", "nelbo"])]
    assert shown(plan, Tables(**{**vars(tables), "summary": summary})) == []


def test_failed_models_and_lost_members_stay_in_the_table(benchmark):
    plan, tables = benchmark
    summary = tables.summary.copy()
    own = (summary["model"] == "svae_plus") & (summary["scope"] == "ood") & (summary["metric"] == "iwelbo")
    summary.loc[own & (summary["variant"] == "finetuned_half"), ["status", "reason"]] = ["failed", "nonfinite_iwelbo"]
    summary.loc[own & (summary["variant"] == "zero_shot"), "n_ok"] = 5
    svae = cells(shown(plan, Tables(**{**vars(tables), "summary": summary}))[0].table)[1]
    assert svae[1].endswith("5/6 ok")
    assert svae[2] == "failed nonfinite iwelbo"


def test_one_replicate_says_so_instead_of_an_interval(benchmark):
    plan, tables = benchmark
    alone = tables.differences.assign(low=float("nan"), high=float("nan"))
    svae = cells(shown(plan, Tables(**{**vars(tables), "differences": alone}))[0].table)[1]
    assert svae[3] == "+0.60 one replicate"


def test_the_legacy_protocol_reads_its_own_variant(benchmark):
    plan, tables = benchmark
    legacy = plan | {"splits": {"unseen_perturbation": {"label": "U", "protocol": "released"}}}
    names = {"finetuned_half": "finetuned_insample", "finetuned_insample": "finetuned_half"}
    moved = {
        name: pd.DataFrame(frame).replace({"variant": names, "reference_variant": names})
        for name, frame in (("summary", tables.summary), ("differences", tables.differences))
    }
    assert cells(shown(legacy, Tables(**vars(tables) | moved))[0].table) == cells(shown(plan, tables)[0].table)
    assert "optimistic" in heldout.FITTED[heldout.fitted_as(legacy, "unseen_perturbation")]


def test_a_reference_with_nothing_to_fit_has_both_columns(tmp_path):
    plan = _synthetic.plan(replicates=3)
    plan["models"]["ivae_released"]["likelihood"] = "none"
    plan["models"]["ivae_released"]["use"] = "no_reference"
    plan["metrics"] = {"tight": plan["metrics"]["iwelbo"]}
    _synthetic.tree(tmp_path, _synthetic.plan(replicates=3), fail="none")
    for path in (tmp_path / "score").rglob("*.parquet"):
        if not path.name.endswith(".aligned.parquet"):
            table = io.read_table(path, "scores").query("metric == 'iwelbo'")
            io.write_table(table.assign(metric="tight"), path, "scores")
    aggregate.run(plan, tmp_path, tmp_path / "aggregate")
    tables = Tables.read(tmp_path / "aggregate")
    heading, *rows = cells(shown(plan, tables)[0].table)
    assert heading[4:] == ["Minus VAE before fitting", "Minus VAE after fitting, itself with nothing to fit"]
    svae, ivae, vae = rows
    assert vae[4:] == ["reference", "reference"]
    assert ivae[4:] == ["", ""]
    own = tables.differences.query("model == 'svae_plus' and reference == 'vae' and scope == 'ood'")
    own = own[own["perturbation"].isna()].set_index("variant")["difference"]
    assert svae[4].startswith(f"{own['zero_shot']:+.2f} [")
    assert svae[5].startswith(f"{own['finetuned_half']:+.2f} [")


def test_without_a_fitted_model_there_is_no_column_for_it(benchmark):
    plan, tables = benchmark
    fitted = tables.summary["variant"].str.startswith("finetuned")
    differences = tables.differences[tables.differences["reference_variant"] == "zero_shot"]
    left = {"summary": tables.summary[~fitted], "differences": differences.query("model != reference")}
    found = shown(plan, Tables(**vars(tables) | left))[0]
    assert not found.fitted
    assert cells(found.table)[0] == ["Model", "Before fitting", "Minus iVAE (released) before fitting"]
