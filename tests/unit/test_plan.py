"""From configuration to jobs: what exists, what each job is told, and what a change leaves alone."""

import shutil

import pytest

from scident import config, registry
from scident.info import ModelInfo
from scident.plan import Plan
from scident.runs import grid_points

BASE = {
    "datasets": {"world": {"use": "sparse_shift", "n_latents": 4}},
    "splits": {"cells": {"use": "iid"}},
    "models": {"pca": {}, "sparse": {"use": "svae_plus", "grid": {"penalty": [1, 100]}}},
    "metrics": {"mcc_pearson": {}},
    "replicates": 2,
    "seeds": 2,
}
CONTROLS = {
    name
    for name in registry.known("models")
    if isinstance(info := registry.describe("models", name), ModelInfo) and info.role.endswith("_control")
}


def plan(**changes):
    return Plan(config.load({**BASE, **changes}, deep=False))


def fitted(found, model, stage="train"):
    """What is fitted, and everything a job is told that may change the result of a member."""
    specs = [
        found.model_spec("world", "cells", model, i, stage)
        for i in range(len(found.run("world", "cells", model).shards))
    ]
    told = {}
    for spec in specs:
        points = list(spec["grid"])
        for replicate, point, seed in spec["members"]:
            shared = {key: spec[key] for key in ("dataset", "split", "model", "use", "n_latents", "hash_code")}
            told[replicate, points[point], seed] = {**shared, "params": spec["grid"][points[point]]}
    return told


def test_controls_are_added_and_cannot_be_left_out():
    assert CONTROLS
    assert set(plan().models) == {"pca", "sparse", *CONTROLS}
    assert set(plan(models={}).models) == CONTROLS


def test_a_control_in_the_configuration_is_not_added_again():
    found = plan(models={"floor": {"use": "random_encoder"}})
    assert "floor" in found.models
    assert "random_encoder" not in found.models


def test_every_dataset_meets_every_split_and_model():
    found = plan(splits={"cells": {"use": "iid"}, "unseen_perturbation": {}})
    names = {(run.dataset, run.split, run.model.name) for run in found.runs}
    assert len(found.runs) == len(names) == 1 * 2 * (2 + len(CONTROLS))


def test_grid_points_are_named_by_their_values():
    points = grid_points({"penalty": [1, 0.5], "epochs": [3]}, {"width": 8})
    assert points == {
        "penalty=1,epochs=3": {"width": 8, "penalty": 1, "epochs": 3},
        "penalty=0.5,epochs=3": {"width": 8, "penalty": 0.5, "epochs": 3},
    }
    assert grid_points({}, {"width": 8}) == {"default": {"width": 8}}


def test_members_are_replicates_grid_points_and_seeds():
    assert list(fitted(plan(), "sparse")) == [
        (r, g, s) for r in range(2) for g in ("penalty=1", "penalty=100") for s in range(2)
    ]


def test_a_deterministic_model_is_fitted_once_and_written_under_every_seed():
    found = plan()
    assert list(fitted(found, "pca")) == [(0, "default", 0), (1, "default", 0)]
    assert found.model_spec("world", "cells", "pca", 0, "infer")["seeds"] == [0, 1]


@pytest.mark.parametrize(("size", "lengths"), [(None, [8]), (3, [3, 3, 2]), (8, [8]), (100, [8]), (1, [1] * 8)])
def test_shards_cut_the_members_and_lose_none(size, lengths):
    run = plan(members_per_job=size, models={"vae": {}}, seeds=4).run("world", "cells", "vae")
    assert [len(shard) for shard in run.shards] == lengths
    assert [member for shard in run.shards for member in shard] == run.members


@pytest.mark.parametrize(("size", "lengths"), [(None, [8]), (3, [4, 4]), (8, [8]), (100, [8]), (1, [4, 4])])
def test_a_grid_point_is_chosen_in_one_job(size, lengths):
    run = plan(members_per_job=size).run("world", "cells", "sparse")
    assert [len(shard) for shard in run.shards] == lengths
    assert [member for shard in run.shards for member in shard] == run.members


def test_an_entry_overrides_the_members_per_job_and_light_models_are_not_cut():
    models = {"vae": {"members_per_job": 1}, "sparse": {"use": "svae_plus"}, "pca": {}}
    found = plan(models=models, members_per_job=2)
    assert [len(found.run("world", "cells", name).shards) for name in models] == [4, 2, 1]


def test_a_model_runs_on_the_datasets_it_names():
    datasets = dict.fromkeys("ab", BASE["datasets"]["world"])
    found = plan(datasets=datasets, models={"pca": {"datasets": ["b"]}, "vae": {}})
    asked = {(run.dataset, run.model.name) for run in found.runs}
    assert asked & {(d, m) for d in "ab" for m in ("pca", "vae")} == {("b", "pca"), ("a", "vae"), ("b", "vae")}
    assert {(run["dataset"], run["model"]) for run in found.describe()["runs"]} == asked


def test_members_per_job_changes_no_member():
    assert fitted(plan(members_per_job=3), "sparse") == fitted(plan(), "sparse")


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 3},
        {"replicates": 3},
        {"models": {**BASE["models"], "vae": {}}},
        {"models": {**BASE["models"], "sparse": {"use": "svae_plus", "grid": {"penalty": [7, 1, 100]}}}},
        {"datasets": {**BASE["datasets"], "other": {"use": "sparse_shift"}}},
        {"metrics": {**BASE["metrics"], "nelbo": {}}},
    ],
    ids=["seed", "replicate", "model", "grid point", "dataset", "metric"],
)
def test_adding_something_changes_no_existing_member(change):
    before, after = plan(), plan(**change)
    for model in ("pca", "sparse"):
        kept = fitted(before, model)
        assert {member: fitted(after, model).get(member) for member in kept} == kept
    assert after.data_spec("world") == before.data_spec("world")


def test_a_metric_is_told_to_no_training_job():
    before, after = plan(), plan(metrics={"mcc_pearson": {}, "nelbo": {}})
    specs = [p.model_spec("world", "cells", "sparse", 0, "train") for p in (before, after)]
    assert specs[0] == specs[1]
    assert list(after.score_spec("world", "cells", "sparse")["metrics"]) == ["mcc_pearson", "nelbo"]


def test_a_parameter_changes_its_own_model_alone():
    before = plan()
    after = plan(models={**BASE["models"], "sparse": {"use": "svae_plus", "grid": {"penalty": [1, 50]}}})
    for model in before.models:
        same = before.model_spec("world", "cells", model, 0, "train") == after.model_spec(
            "world", "cells", model, 0, "train"
        )
        assert same == (model != "sparse")


def test_the_number_of_latents_belongs_to_the_dataset_unless_the_model_says_otherwise():
    found = plan(
        n_latents=9,
        datasets={**BASE["datasets"], "other": {"use": "sparse_shift"}},
        models={"pca": {}, "wide": {"use": "pca", "n_latents": 30}},
    )
    told = {
        (d, m): found.model_spec(d, "cells", m, 0, "train")["n_latents"]
        for d in ("world", "other")
        for m in ("pca", "wide")
    }
    assert told == {("world", "pca"): 4, ("world", "wide"): 30, ("other", "pca"): 9, ("other", "wide"): 30}
    assert found.data_spec("world")["params"]["n_latents"] == 4


def test_a_dataset_may_have_its_own_number_of_replicates():
    found = plan(datasets={"world": {"use": "sparse_shift"}, "few": {"use": "sparse_shift", "replicates": 1}})
    assert [found.replicates(name) for name in ("world", "few")] == [(0, 1), (0,)]
    assert found.run("few", "cells", "pca").replicates == (0,)
    assert found.split_spec("few", "cells")["replicates"] == [0]
    assert "replicates" not in found.data_spec("few")["params"]


def test_positive_controls_are_skipped_where_there_is_no_truth():
    mine = {"use": "h5ad", "path": "mine.h5ad"}
    found = plan(
        datasets={"blind": mine, "known": {**mine, "truth": {"z": "z", "shift": "s"}}, "world": {"use": "sparse_shift"}}
    )
    assert [found.has_truth(name) for name in ("blind", "known", "world")] == [False, True, True]
    skipped = {(run.dataset, run.model.name) for run in found.runs if run.skipped == "no_truth"}
    positive = {name for name, model in found.models.items() if model.info.role == "positive_control"}
    assert positive > {"half_split"}
    assert skipped == {("blind", name) for name in positive - {"half_split"}}


def test_the_half_split_needs_no_truth_and_is_given_none():
    found = plan(datasets={"blind": {"use": "h5ad", "path": "mine.h5ad"}}, metrics=ASKED)
    assert found.run("blind", "cells", "half_split").skipped is None
    assert not found.models["half_split"].info.reads_truth
    assert found.models["oracle_truth"].info.reads_truth


MEANS = ("no_change", "training_mean", "context_mean", "additive")
ASKED = {"mcc_pearson": {}, "delta_r2": {}}


def test_models_of_means_have_no_jobs_unless_a_metric_reads_predictions():
    models = {name: {} for name in ("pca", "context_mean", "additive")}
    idle = {run.model.name for run in plan(models=models).runs if run.skipped == "no_prediction"}
    assert idle == {*MEANS, "half_split"}
    found = plan(models=models, metrics=ASKED)
    assert not [run for run in found.runs if run.skipped == "no_prediction"]
    spec = found.model_spec("world", "cells", "additive", 0, "infer")
    assert spec["predict"]
    assert spec["members"] == [[0, 0, 0], [1, 0, 0]]


def test_the_default_controls_of_latents_are_told_to_predict_nothing():
    found = plan(metrics=ASKED)
    assert not found.model_spec("world", "cells", "pca", 0, "infer")["predict"]
    assert found.model_spec("world", "cells", "no_change", 0, "infer")["predict"]
    assert not plan().model_spec("world", "cells", "no_change", 0, "infer")["predict"]
    for one in (found, plan()):
        assert "predict" not in one.model_spec("world", "cells", "no_change", 0, "train")


def test_asking_for_predictions_trains_nothing_again():
    before, after = plan(), plan(metrics=ASKED)
    for model in ("pca", "sparse", "no_change"):
        assert fitted(before, model) == fitted(after, model)


def test_a_control_that_needs_blocks_is_skipped_where_there_are_none(plugins, tmp_path):
    control = tmp_path / "turns.py"
    source = registry.path_of("models", "rotated_truth").read_text()
    control.write_text(source.replace('role="positive_control",', 'role="positive_control",\n    needs_blocks=True,'))
    world = tmp_path / "blocky.py"
    source = registry.path_of("simulators", "sparse_shift").read_text()
    world.write_text(source.replace("info = SimulatorInfo(", "info = SimulatorInfo(gives_blocks=True, "))
    mine = {"use": "h5ad", "path": "mine.h5ad"}
    found = plan(
        datasets={"world": {"use": "sparse_shift"}, "blocky": {}, "blind": mine},
        plugins=[str(control), str(world)],
        models={"turns": {}},
    )
    skipped = {run.dataset: run.skipped for run in found.runs if run.model.name == "turns"}
    assert skipped == {"world": "no_blocks", "blocky": None, "blind": "no_truth"}


def test_what_the_report_is_told_names_everything():
    metrics = {"mcc_pearson": {}, "cost": {"use": "nelbo"}}
    found = plan(splits={"cells": {"use": "iid", "protocol": "released"}}, metrics=metrics).describe()
    assert found["datasets"]["world"]["has_truth"]
    assert found["splits"]["cells"]["protocol"] == "released"
    assert found["models"]["sparse"]["grid_points"] == ["penalty=1", "penalty=100"]
    assert found["metrics"]["mcc_pearson"]["better"] == "higher"
    assert {name: metric["use"] for name, metric in found["metrics"].items()} == {
        "mcc_pearson": "mcc_pearson",
        "cost": "nelbo",
    }
    assert len(found["runs"]) == 2 + len(CONTROLS)
    assert {run["shards"] for run in found["runs"]} == {1}


def test_labels_that_entries_share_carry_the_entry_name():
    labels = {
        name: m["label"] for name, m in plan(models={"pca": {}, "wide": {"use": "pca"}}).describe()["models"].items()
    }
    assert (labels["pca"], labels["wide"]) == ("PCA (pca)", "PCA (wide)")
    assert plan().describe()["models"]["pca"]["label"] == "PCA"


@pytest.mark.parametrize(
    "change",
    [
        {"splits": {"cells": {"use": "iid", "protocol": "released"}}},
        {"splits": {"cells": {"use": "unseen_perturbation"}}},
        {"datasets": {"world": {"use": "sparse_shift", "n_latents": 5}}},
        {"models": {"pca": {"n_latents": 3}}},
        {"metrics": {"mcc_pearson": {}, "mcc_spearman": {}}},
    ],
)
def test_the_hash_of_a_score_covers_what_its_value_depends_on(change):
    def digest(found):
        return found.score_spec("world", "cells", "pca")["hash_config"]

    assert digest(plan(**change)) != digest(plan())
    assert digest(plan()) == digest(plan(replicates=3, seeds=4))


def test_runs_carry_the_hashes_of_their_scores():
    found = plan()
    (run,) = [run for run in found.describe()["runs"] if run["model"] == "pca"]
    told = found.score_spec("world", "cells", "pca")
    assert (run["hash_config"], run["hash_code"]) == (told["hash_config"], told["hash_code"])


def test_a_plugin_file_is_told_only_to_the_jobs_that_use_it(plugins, tmp_path):
    metric = tmp_path / "mine.py"
    metric.write_text(registry.path_of("metrics", "mcc_pearson").read_text())
    found = plan(plugins=[str(metric)], metrics={"mcc_pearson": {}, "mine": {}})
    assert found.score_spec("world", "cells", "pca")["plugins"] == [str(metric)]
    assert found.model_spec("world", "cells", "pca", 0, "train")["plugins"] == []
    assert found.data_spec("world")["plugins"] == []


def test_score_is_told_how_many_shards_there_are():
    assert plan(members_per_job=3).score_spec("world", "cells", "sparse")["shards"] == 2


def test_report_digest_covers_its_templates(monkeypatch, tmp_path):
    before = registry.stage_digest("report")
    shutil.copytree(registry.PACKAGE, tmp_path / "scident")
    monkeypatch.setattr(registry, "PACKAGE", tmp_path / "scident")
    assert registry.stage_digest("report") == before
    sheet = tmp_path / "scident/report/templates/style.css"
    sheet.write_text(sheet.read_text() + "/* touched */")
    assert registry.stage_digest("report") != before


def test_a_local_file_is_not_taken_for_the_published_one():
    found = plan(datasets={"norman2019": {}, "part": {"use": "norman2019", "path": "part.h5ad"}}).describe()
    assert [entry["label"] for entry in found["datasets"].values()] == ["Norman 2019", "Norman 2019 (local file)"]
