import pandas as pd
import pytest

import _synthetic
from scident import io
from scident.aggregate.units import SELECTED
from scident.report.view import Tables
from scident.stages import aggregate, report

TABLES = tuple(Tables.__dataclass_fields__)


def aggregated(folder, fail="some", **options):
    plan = _synthetic.plan(**options)
    _synthetic.tree(folder, plan, fail=fail)
    aggregate.run(plan, folder, folder / "aggregate")
    return {name: io.read_table(folder / "aggregate" / f"{name}.parquet", name) for name in TABLES}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return aggregated(tmp_path_factory.mktemp("results"))


def test_aggregate_writes_every_table_of_the_report(tables):
    assert {name for name, table in tables.items() if table.empty} == {"grid"}


def test_aggregate_names_the_winner_as_provisional_with_five_replicates(tables):
    ranks = tables["ranks"].query("metric == 'mcc_pearson' and scope == 'iid'")
    assert set(ranks["best"]) == {"svae_plus"}
    assert set(ranks["verdict"]) == {"separated (provisional, 5 units)"}
    assert not set(ranks["other"]) & set(_synthetic.CONTROLS)


def test_aggregate_shows_success_counts(tables):
    row = tables["summary"].query("metric == 'mcc_pearson' and scope == 'iid' and model == 'vae'").iloc[0]
    assert (row["n_ok"], row["n_total"], row["reason"]) == (9, 10, "failed:nonfinite_latents")


def test_aggregate_adds_the_selected_grid_point(tmp_path):
    tables = aggregated(tmp_path, grid=True, replicates=2)
    points = tables["summary"].query("model == 'svae_plus'")["grid_point"]
    assert set(points) == {"penalty=10", "penalty=100", SELECTED}
    assert set(tables["summary"].query("model == 'pca'")["grid_point"]) == {"default"}
    assert len(tables["grid"])
    used = tables["selected"].query("default and model == 'svae_plus'")
    assert (set(used["rule"]), len(used)) == ({"stability"}, 2)


def test_aggregate_follows_the_configured_rule_alone(tmp_path):
    plan = _synthetic.plan(grid=True, replicates=2)
    _synthetic.tree(tmp_path, plan, fail="none")
    means = {}
    for rule in ("stability", "val_nelbo"):
        plan["config"]["selection"] = rule
        aggregate.run(plan, tmp_path, tmp_path / rule)
        found = {name: io.read_table(tmp_path / rule / f"{name}.parquet", name) for name in TABLES}
        chosen = set(found["selected"].query("default and model == 'svae_plus'")["grid_point"])
        rows = found["summary"].query("model == 'svae_plus' and metric == 'mcc_pearson' and scope == 'iid'")
        means[rule] = rows.set_index("grid_point")["mean"]
        assert chosen == {{"stability": "penalty=100", "val_nelbo": "penalty=10"}[rule]}
        assert means[rule][SELECTED] == means[rule][chosen.pop()]
        assert (rows.set_index("grid_point").loc[SELECTED, "n_total"]) == 4


def test_aggregate_of_one_replicate_claims_nothing(tmp_path):
    tables = aggregated(tmp_path, truth=False, replicates=1, seeds=3)
    assert set(tables["ranks"]["verdict"]) == {"no claim (1 unit)"}
    spread = tables["summary"].query("metric == 'seed_mcc' and status == 'ok'")["interval"]
    assert set(spread) == {"seeds only (jackknife se)"}


def test_aggregate_of_nothing_but_failures_still_has_every_row(tmp_path):
    plan = _synthetic.plan(replicates=2)
    aggregate.run(plan, tmp_path, tmp_path / "aggregate")
    scores = io.read_table(tmp_path / "aggregate" / "scores.parquet", "scores")
    assert set(scores["model"]) == set(plan["models"])
    assert set(scores["status"]) == {"failed"}


def test_aggregate_twice_gives_the_same_tables(tmp_path, tables):
    again = aggregated(tmp_path)
    for name in TABLES:
        pd.testing.assert_frame_equal(again[name], tables[name])


def test_aggregate_of_a_benchmark_that_owes_no_rows_writes_empty_tables(tmp_path):
    plan = _synthetic.plan(replicates=2, protocol="released")
    plan["metrics"] = {"probe_z_perturbation": plan["metrics"]["probe_z_perturbation"]}
    aggregate.run(plan, tmp_path, tmp_path / "aggregate")
    for name in ("scores", "summary", "ranks"):
        assert io.read_table(tmp_path / "aggregate" / f"{name}.parquet", name).empty
    report.run(plan, tmp_path / "aggregate", tmp_path / "report")
    assert "No metric applies" in (tmp_path / "report" / "index.html").read_text()


def test_aggregate_finds_the_workflows_benchmarks_beside_the_results(tmp_path):
    path = tmp_path / "benchmarks/data/sparse-shift/r0.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\tmax_rss\n1.0\t2.0\n")
    aggregate.run(_synthetic.plan(replicates=1), tmp_path / "results", tmp_path / "results/aggregate")
    costs = io.read_table(tmp_path / "results/aggregate/costs.parquet", "costs")
    assert costs.loc[costs["stage"] == "data", "wall_s"].tolist() == [1.0]
