"""Score tables of runs that owe nothing, members that do not apply, and a target matrix that breaks."""

import pandas as pd
import pytest

from _runs import make
from scident import io
from scident.stages import _score_aligned, score


def only(run, *metrics):
    return {name: run.spec["metrics"][name] for name in metrics}


def test_score_of_a_run_that_owes_no_rows_is_an_empty_table(tmp_path):
    run = make(tmp_path, protocol="released")
    metrics = only(run, "probe_z_perturbation")
    assert run.score(metrics=metrics)[0].empty
    aligned = run.out.with_suffix(".aligned.parquet")
    score.write_failed(run.spec | {"metrics": metrics}, run.out, aligned, "killed")
    assert io.read_table(run.out, "scores").empty


@pytest.mark.parametrize(
    ("other", "expected"),
    [(None, ("not_applicable", "no_world")), ("oom", ("failed", "member_failed"))],
)
def test_a_metric_over_seeds_passes_on_what_does_not_apply(tmp_path, other, expected):
    run = make(tmp_path)
    path = run.infer[0] / "members.parquet"
    table = io.read_table(path, "members")
    table[["status", "reason"]] = ["not_applicable", "no_world"]
    if other:
        table.loc[table["seed"] == 1, ["status", "reason"]] = ["failed", other]
    io.write_table(table, path, "members")
    scores, _ = run.score(metrics=only(run, "mcc_pearson", "seed_mcc"))
    found = scores[scores["metric"] == "seed_mcc"]
    assert set(zip(found["status"], found["reason"], strict=True)) == {expected}
    assert set(scores.loc[scores["metric"] == "mcc_pearson", "reason"]) == {"no_world", other or "no_world"}


def test_a_broken_target_matrix_leaves_the_scores_as_they_are(tmp_path, monkeypatch):
    run = make(tmp_path)
    metrics = only(run, "mcc_pearson")
    before, whole = run.score(metrics=metrics)

    def broken(inputs):
        raise ValueError("no matrix")

    monkeypatch.setattr(_score_aligned, "aligned", broken)
    after, aligned = run.score(metrics=metrics)
    assert len(whole)
    assert aligned.empty
    pd.testing.assert_frame_equal(before, after)
