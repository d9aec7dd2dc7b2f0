import pandas as pd
import pytest

import _synthetic
from scident import io
from scident.aggregate import collect
from scident.aggregate.costs import collect_costs


@pytest.fixture
def benchmark(tmp_path):
    plan = _synthetic.plan(replicates=2)
    _synthetic.tree(tmp_path, plan, fail="none")
    return plan, tmp_path


def score_file(results, model):
    return results / "score" / "sparse-shift" / "unseen_perturbation" / f"{model}.parquet"


def test_collect_scores_keeps_every_row_of_every_run(benchmark):
    plan, results = benchmark
    scores = collect.collect_scores(plan, results)
    written = sum(len(pd.read_parquet(score_file(results, m))) for m in plan["models"])
    assert len(scores) == written
    assert set(scores["model"]) == set(plan["models"])


@pytest.mark.parametrize("damage", ["missing", "empty", "no rows", "wrong columns"])
def test_collect_scores_fills_a_lost_run_as_killed(benchmark, damage):
    plan, results = benchmark
    path = score_file(results, "svae_plus")
    before = pd.read_parquet(path)
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "no rows":
        io.write_table(io.empty_table("scores"), path, "scores")
    else:
        before.drop(columns="value").to_parquet(path)
    lost = collect.collect_scores(plan, results).query("model == 'svae_plus'")
    keys = ["replicate", "grid_point", "seed", "scope", "metric", "variant"]
    assert set(lost["status"] + ":" + lost["reason"]) == {"failed:killed"}
    assert lost["value"].isna().all()
    expected = {tuple(row) for row in before[keys].fillna(-1).itertuples(index=False)}
    assert {tuple(row) for row in lost[keys].fillna(-1).itertuples(index=False)} == expected


def test_collect_scores_fills_a_lost_member_as_killed(benchmark):
    plan, results = benchmark
    path = score_file(results, "vae")
    table = io.read_table(path, "scores")
    gone = (table["replicate"] == 1) & (table["seed"] == 1).fillna(False)
    io.write_table(table[~gone], path, "scores")
    vae = collect.collect_scores(plan, results).query("model == 'vae'")
    lost = vae[vae["reason"] == "killed"]
    assert set(lost["replicate"]) == {1}
    assert set(lost["seed"]) == {1}
    assert vae["perturbation"].isna().sum() == table["perturbation"].isna().sum()


def test_collect_scores_fills_skipped_runs_as_not_applicable(tmp_path):
    plan = _synthetic.plan(truth=False, replicates=1, seeds=3)
    _synthetic.tree(tmp_path, plan, fail="none")
    oracle = collect.collect_scores(plan, tmp_path).query("model == 'oracle_noisy'")
    assert set(oracle["status"] + ":" + oracle["reason"]) == {"not_applicable:no_truth"}
    members = oracle[oracle["metric"] == "mcc_pearson"]
    assert set(zip(members["scope"], members["seed"], strict=True)) == {
        (s, i) for s in ("iid", "ood") for i in range(3)
    }
    assert oracle[oracle["metric"] == "seed_mcc"]["seed"].isna().all()
    assert set(oracle[oracle["metric"] == "nelbo"]["scope"]) == {"iid", "ood", "val"}


def test_collect_scores_fills_only_scopes_of_the_protocol(tmp_path):
    plan = _synthetic.plan(protocol="released", replicates=1)
    scores = collect.collect_scores(plan, tmp_path)
    assert set(scores["scope"]) == {"insample", "ood", "val"}
    assert (scores["reason"] == "killed").all()
    targets = scores[scores["metric"] == "target_f1"]
    assert set(targets.loc[targets["scope"] == "insample", "variant"]) == {"corrected", "released"}
    assert set(targets.loc[targets["scope"] == "ood", "variant"]) == {"corrected"}


def test_collect_curves_names_run_and_member(benchmark):
    plan, results = benchmark
    curves = collect.collect_curves(plan, results)
    assert set(curves["model"]) == set(_synthetic.TRAINED)
    assert set(curves["member"]) == {"r0.g0.s0", "r0.g0.s1", "r1.g0.s0", "r1.g0.s1"}


def test_collect_without_any_file_gives_empty_tables(tmp_path):
    plan = _synthetic.plan(replicates=1)
    assert collect.collect_aligned(plan, tmp_path).empty
    assert collect.collect_curves(plan, tmp_path).empty


def test_costs_have_one_row_per_job(benchmark):
    plan, results = benchmark
    costs = collect_costs(plan, results)
    assert len(costs) == 2 * sum(run["shards"] for run in plan["runs"])
    assert costs.query("stage == 'train' and model == 'vae'")["members"].tolist() == [2, 2]
    assert costs["wall_s"].notna().all()


def test_costs_of_a_job_without_status_are_failed(tmp_path):
    costs = collect_costs(_synthetic.plan(replicates=1), tmp_path)
    assert set(costs["status"]) == {"failed"}
    assert costs["wall_s"].isna().all()


def test_costs_take_the_larger_memory_and_keep_the_jobs_own_clock(benchmark, tmp_path_factory):
    plan, results = benchmark
    folder = tmp_path_factory.mktemp("benchmarks")
    text = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n{}\n"
    files = {
        "train/sparse-shift/unseen_perturbation/vae/s1.tsv": "99.0\t0:01:39\t2048.0\t-\t-\t-\t-\t-\t90.0\t88.0",
        "score/sparse-shift/unseen_perturbation/vae.tsv": "3.0\t0:00:03\t300.0\t-\t-\t-\t-\t-\t90.0\t2.5",
        "data/sparse-shift/r0.tsv": "1.0\t0:00:01\t-\t-\t-\t-\t-\t-\t90.0\t-",
    }
    for name, row in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(row))
    costs = collect_costs(plan, results, folder)
    job = costs.query("stage == 'train' and model == 'vae' and shard == 1").iloc[0]
    assert (job["wall_s"], job["peak_rss_mb"]) == (12.5, 2048.0)
    scored = costs[costs["stage"] == "score"].iloc[0]
    assert (scored["model"], scored["wall_s"], scored["cpu_s"]) == ("vae", 3.0, 2.5)
    assert costs[costs["stage"] == "data"].iloc[0]["dataset"] == "sparse-shift"


def test_collect_scores_of_metrics_over_seeds_alone_misses_nobody(benchmark):
    plan, results = benchmark
    plan["metrics"] = {name: m for name, m in plan["metrics"].items() if m["over"] == "seeds"}
    for model in plan["models"]:
        path = score_file(results, model)
        table = io.read_table(path, "scores")
        io.write_table(table[table["seed"].isna()], path, "scores")
    scores = collect.collect_scores(plan, results)
    assert set(scores["metric"]) == set(plan["metrics"])
    assert set(scores["status"]) <= {"ok", "not_applicable"}


def test_collect_scores_fills_a_lost_comparison_of_seeds(benchmark):
    plan, results = benchmark
    path = score_file(results, "vae")
    table = io.read_table(path, "scores")
    io.write_table(table[~((table["replicate"] == 1) & table["seed"].isna())], path, "scores")
    vae = collect.collect_scores(plan, results).query("model == 'vae'")
    assert len(vae) == len(table)
    lost = vae[vae["reason"] == "killed"]
    assert set(zip(lost["replicate"], lost["metric"], strict=True)) == {(1, "seed_mcc"), (1, "seed_target_jaccard")}


def test_collect_scores_of_runs_that_owe_no_rows_is_empty(tmp_path):
    plan = _synthetic.plan(protocol="released", replicates=1)
    plan["metrics"] = {"probe_z_perturbation": plan["metrics"]["probe_z_perturbation"]}
    assert collect.collect_scores(plan, tmp_path).empty


@pytest.mark.parametrize("stale", ["hash_config", "hash_code"])
def test_collect_fills_scores_of_another_configuration_or_code_as_outdated(benchmark, stale):
    plan, results = benchmark
    hashes = ("hash_config", "hash_code")
    for run in plan["runs"]:
        run |= {name: io.digest_of([name, run["model"]]) for name in hashes}
    assert "outdated" not in set(collect.collect_scores(plan, results)["reason"])
    run = next(run for run in plan["runs"] if run["model"] == "vae")
    run[stale] = "another"
    scores = collect.collect_scores(plan, results)
    outdated = scores[scores["reason"] == "outdated"]
    assert set(outdated["model"]) == {"vae"}
    assert set(outdated["status"]) == {"failed"}
    assert (scores["model"] == "vae").sum() == len(outdated)
    assert "vae" not in set(collect.collect_aligned(plan, results)["model"])


def test_costs_pass_over_files_of_other_configurations(benchmark, tmp_path_factory):
    plan, results = benchmark
    folder = tmp_path_factory.mktemp("benchmarks")
    place = "sparse-shift/unseen_perturbation"
    known = ["data/sparse-shift/r0", "data/sparse-shift/r1", f"split/{place}", f"score/{place}/vae"]
    left_over = ["data/sparse-shift/r2", "data/old/r0", "split/sparse-shift/old", f"score/{place}/old"]
    left_over += [f"train/{place}/vae/s2", "score/old/unseen_perturbation/vae", "report"]
    for name in known + left_over:
        path = folder / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("s\tmax_rss\n1.0\t2.0\n")
    costs = collect_costs(plan, results, folder)
    others = costs[~costs["stage"].isin(["train", "infer"])]
    places = set(others[["stage", "dataset", "split", "model", "shard"]].itertuples(index=False, name=None))
    split = ("sparse-shift", "unseen_perturbation")
    assert places == {
        *(("data", "sparse-shift", "", "", r) for r in (0, 1)),
        ("split", *split, "", 0),
        ("score", *split, "vae", 0),
    }
    assert len(costs) - len(others) == 2 * sum(run["shards"] for run in plan["runs"])
