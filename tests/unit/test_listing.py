"""What `scident list` and `scident explain` print."""

import json

import pandas as pd
import pytest

from scident import download, io, registry
from scident.contracts import TABLES
from scident.errors import DataError, PluginError
from scident.info import DatasetInfo, File
from scident.listing import explanation, failed_jobs, fetched, plugin_table

RUN = "d/s/m"


@pytest.mark.parametrize("kind", [kind for kind in registry.INFO_CLASSES if kind != "datasets"])
def test_plugin_table_has_an_aligned_row_for_each_plugin(kind, tmp_path):
    rows = plugin_table(kind, tmp_path).splitlines()
    names = registry.known(kind)
    assert [row.split()[0] for row in rows] == names
    labels = [registry.describe(kind, name).label for name in names]
    assert {row.index(label, len(name)) for row, name, label in zip(rows, names, labels, strict=True)} == {
        max(map(len, names)) + 2
    }


def test_plugin_table_says_role_and_direction(tmp_path):
    roles = {row.split()[0]: row for row in plugin_table("models", tmp_path).splitlines()}
    assert "negative control" in roles["random_encoder"]
    directions = {row.split()[0]: row for row in plugin_table("metrics", tmp_path).splitlines()}
    assert "lower is better" in directions["nelbo"]


def test_plugin_table_of_an_unknown_kind_names_the_nearest(tmp_path):
    with pytest.raises(PluginError, match=r"'model' to list; known: .*Did you mean 'models'\?"):
        plugin_table("model", tmp_path)


@pytest.mark.parametrize("metric", registry.known("metrics"))
def test_explanation_says_everything_a_metric_declares(metric):
    text = explanation(metric)
    info = registry.describe("metrics", metric)
    assert text.startswith(f"{metric}: {info.label}")
    assert all(words in text for words in (info.formula, info.source, info.better, *info.needs, *info.scopes))
    assert all(f"{name} = " in text for name in registry.load("metrics", metric).Params.model_fields)


def test_explanation_lists_parameters_with_default_and_prose(plugins, tmp_path):
    text = registry.path_of("metrics", "mcc_pearson").read_text()
    field = (
        'from pydantic import Field\nclass Params(PluginParams):\n    top: int = Field(3, description="How many.")\n'
    )
    (tmp_path / "mine.py").write_text(text.replace("class Params(PluginParams):\n", field))
    plugins([tmp_path / "mine.py"])
    assert "  top = 3  How many." in explanation("mine")


def test_explanation_of_an_unknown_metric_names_the_nearest():
    with pytest.raises(PluginError, match=r"Did you mean 'mcc_pearson'\?"):
        explanation("mcc_pearsn")


def job(results, stage, shard=0, *, status="ok", members=("ok",)):
    folder = results / stage / RUN / f"s{shard}"
    folder.mkdir(parents=True, exist_ok=True)
    said = {f"r{i}.g0.s0": {"status": member, "reason": ""} for i, member in enumerate(members)}
    (folder / "status.json").write_text(json.dumps({"status": status, "members": said}))


def score(results, **changes):
    row = dict.fromkeys(TABLES["scores"].columns, "x") | {
        "replicate": 0,
        "seed": 0,
        "value": 0.5,
        "se": 0.1,
        "n": 9,
        "status": "ok",
        "reason": "",
    }
    io.write_table(pd.DataFrame([row, row | changes]), results / "score" / f"{RUN}.parquet", "scores")


@pytest.fixture
def results(tmp_path):
    for stage in ("train", "infer"):
        for shard in (0, 1):
            job(tmp_path, stage, shard)
    score(tmp_path)
    return tmp_path


def test_failed_jobs_of_a_sound_benchmark_are_none(results, tmp_path):
    assert failed_jobs(results) == ""
    assert failed_jobs(tmp_path / "nowhere") == ""


def test_failed_jobs_name_the_train_job_alone_where_all_that_follows_failed(results):
    job(results, "train", 1, status="failed", members=("failed",))
    job(results, "infer", 1, status="failed", members=("failed",))
    score(results, status="failed", reason="killed")
    assert failed_jobs(results) == f"{results.as_posix()}/train/{RUN}/s1/status.json"


def test_failed_jobs_name_a_train_job_of_which_one_member_failed(results):
    job(results, "train", 0, members=("ok", "failed"))
    assert failed_jobs(results) == f"{results.as_posix()}/train/{RUN}/s0/status.json"


def test_failed_jobs_name_the_infer_folder_where_training_went_well(results):
    job(results, "infer", 1, members=("ok", "failed"))
    assert failed_jobs(results) == f"{results.as_posix()}/infer/{RUN}/s1"


def test_failed_jobs_leave_a_member_alone_that_does_not_apply(results):
    job(results, "infer", 1, members=("ok", "not_applicable"))
    assert failed_jobs(results) == ""


@pytest.mark.parametrize("reason", ["killed", "oom", "exception: ValueError: no"])
def test_failed_jobs_name_a_score_that_failed_by_itself(results, reason):
    score(results, status="failed", reason=reason)
    assert failed_jobs(results) == f"{results.as_posix()}/score/{RUN}.parquet"


@pytest.mark.parametrize(("status", "reason"), [("not_applicable", "no_truth"), ("failed", "nonfinite_score")])
def test_failed_jobs_leave_a_score_alone_that_would_come_out_the_same(results, status, reason):
    score(results, status=status, reason=reason)
    assert failed_jobs(results) == ""


def planned(shards=2, model="m", skipped=None):
    return [{"dataset": "d", "split": "s", "model": model, "shards": shards, "skipped": skipped}]


@pytest.mark.parametrize("runs", [planned(1), planned(model="other"), planned(skipped="no_truth"), []])
def test_failed_jobs_leave_out_what_the_plan_does_not_hold(results, runs):
    for stage in ("train", "infer"):
        job(results, stage, 1, status="failed", members=("failed",))
    assert failed_jobs(results)
    assert failed_jobs(results, runs) == ""


def test_failed_jobs_of_a_plan_name_its_own_alone(results):
    job(results, "train", 1, status="failed", members=("failed",))
    assert failed_jobs(results, planned()) == f"{results.as_posix()}/train/{RUN}/s1/status.json"
    job(results, "train", 1)
    score(results, status="failed", reason="killed")
    assert failed_jobs(results, planned()) == f"{results.as_posix()}/score/{RUN}.parquet"


def test_failed_jobs_name_what_cannot_be_read(results):
    (results / "score" / f"{RUN}.parquet").write_text("not parquet")
    assert failed_jobs(results) == f"{results.as_posix()}/score/{RUN}.parquet"
    (results / "train" / RUN / "s0" / "status.json").write_text("{")
    assert failed_jobs(results) == f"{results.as_posix()}/train/{RUN}/s0/status.json"


@pytest.fixture
def two_files(monkeypatch):
    files = (File("small.h5ad", (), sha256="ab"), File("large.h5ad", (), md5="cd"))
    info = DatasetInfo(label="Screen", source="somebody", files=files)
    monkeypatch.setattr(registry, "describe", lambda kind, name: info)
    monkeypatch.setattr(download, "fetch", lambda file, cache: cache / file.name)


@pytest.mark.parametrize(("file", "words"), [(None, "small.h5ad  sha256 ab"), ("large.h5ad", "large.h5ad  md5 cd")])
def test_fetched_says_where_a_file_is_and_how_it_was_checked(file, words, two_files, tmp_path):
    assert fetched("screen", tmp_path, file) == f"{tmp_path}/{words}"


def test_fetched_knows_the_files_of_a_dataset(two_files, tmp_path):
    with pytest.raises(DataError, match=r"screen: has no file 'small.h5'; known: .* Did you mean 'small.h5ad'\?"):
        fetched("screen", tmp_path, "small.h5")


def test_a_file_of_the_users_is_not_fetched(tmp_path, command):
    status, _, err = command("fetch", "h5ad", "--cache", tmp_path)
    assert (status, err) == (
        1,
        "scident: h5ad: there is nothing to download; a config entry names the file it reads by `path`\n",
    )
