import json
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from _jobs import job, plugin
from scident import io
from scident.stages import train
from scident.stages._members import load_states

SMALL = {"epochs": 2, "width": 8}


def test_train_writes_what_it_declares(root):
    run = job(root, "svae_plus", grid={"penalty=1": SMALL | {"penalty": 1}, "penalty=9": SMALL | {"penalty": 9}})
    members = run.train()
    assert {p.name for p in run.trained.iterdir()} == set(train.OUTPUTS)
    assert list(members["member"]) == [f"r{r}.g{g}.s{s}" for r in (0, 1) for g in (0, 1) for s in (0, 1)]
    assert (members["fitted_as"] == members["member"]).all()
    assert set(members["status"]) == {"ok"}
    assert set(members["epochs"]) == {2}
    assert [json.loads(p)["penalty"] for p in members["params"]] == [1, 1, 9, 9] * 2
    states = load_states(run.trained / "model.pt")
    assert set(states) == set(members["member"])
    # every perturbation has its row, the held-out one included
    assert all(s["mask_logits"].shape == (6, 3) for s in states.values())
    history = io.read_table(run.trained / "history.parquet", "history")
    assert set(history["member"]) == set(members["member"])
    curves, judged = (history[history["phase"] == phase] for phase in ("train", "select"))
    assert set(curves["quantity"]) == {"val_nelbo", "val_reconstruction", "val_kl", "mask_density"}
    assert set(judged["quantity"]) == {"val_nelbo", "stability"}
    assert judged.groupby("member").size().to_dict() == dict.fromkeys(members["member"], 2)
    status = run.status("train")
    assert (status["status"], status["reason"], status["stage"]) == ("ok", "", "train")
    assert set(status["members"]) == set(members["member"])
    costs = {"wall_s", "cpu_s", "peak_rss_mb", "cells_per_s", "n_params"}
    assert set(status["costs"]) == costs
    assert all(status["costs"][name] > 0 for name in costs)
    assert set(status["hashes"]) == {"hash_code", "hash_config"}


def test_members_differ_by_replicate_and_seed(root):
    run = job(root, "vae", grid={"default": SMALL})
    run.train()
    first = [s["mean.weight"] for s in load_states(run.trained / "model.pt").values()]
    assert not any(np.allclose(first[i], first[j]) for i in range(4) for j in range(i))


def test_results_do_not_depend_on_how_the_members_are_cut(root, tmp_path):
    whole = job(root, "vae", grid={"default": SMALL})
    whole.train()
    part = job(root, "vae", grid={"default": SMALL})
    part.spec["members"] = whole.spec["members"][1:2]
    train.run(part.spec, root / "train.h5ad", tmp_path / "part")
    (one,) = load_states(tmp_path / "part" / "model.pt").items()
    together = load_states(whole.trained / "model.pt")[one[0]]
    for name, value in one[1].items():
        # matrix products of one and of four members may round differently
        np.testing.assert_allclose(value, together[name], atol=1e-5)


def test_the_same_job_twice_is_the_same_to_the_bit(root, tmp_path):
    run = job(root, "svae_plus", grid={"default": SMALL})
    run.train()
    train.run(run.spec, root / "train.h5ad", tmp_path / "again")
    one, two = (load_states(folder / "model.pt") for folder in (run.trained, tmp_path / "again"))
    assert all(np.array_equal(one[m][n], two[m][n]) for m in one for n in one[m])
    histories = [io.read_table(f / "history.parquet", "history") for f in (run.trained, tmp_path / "again")]
    pd.testing.assert_frame_equal(*histories)


@pytest.mark.parametrize(("change", "reused"), [("none", True), ("grid", False), ("code", False), ("n_latents", False)])
def test_kept_members_are_reused_until_something_they_depend_on_changes(root, monkeypatch, change, reused):
    run = job(root, "vae", grid={"default": SMALL})
    run.train(checkpoints=root / "kept")
    changed = {"grid": {"grid": {"default": SMALL | {"learning_rate": 0.1}}}, "code": {"hash_code": "1" * 16}}
    changed |= {"n_latents": {"n_latents": 2}, "none": {}}
    run.spec |= changed[change]
    trained = []
    monkeypatch.setattr("scident.models._batched.train", lambda network, members, *rest: trained.extend(members))
    run.train(checkpoints=root / "kept")
    assert (not trained) == reused


def test_cells_per_second_count_what_this_job_trained_both_times(root, monkeypatch):
    @contextmanager
    def one_second():
        yield {"wall_s": 1.0}

    monkeypatch.setattr(train, "measured", one_second)
    run = job(root, "vae", grid={"default": SMALL | {"retrain_epochs": 1}})
    members = run.spec["members"]
    run.spec["members"] = members[:2]
    run.train(checkpoints=root / "kept")
    first = run.status("train")["costs"]["cells_per_s"]
    run.spec["members"] = members[:3]
    run.train(checkpoints=root / "kept")
    cells = io.read_data(root / "train.h5ad").obs
    passes = [(2 + 1) * ((cells["replicate"] == r) & (cells["part"] == "train")).sum() for r, _, _ in members[:3]]
    assert first == passes[0] + passes[1]
    assert run.status("train")["costs"]["cells_per_s"] == passes[2]
    run.train(checkpoints=root / "kept")
    assert "cells_per_s" not in run.status("train")["costs"]


def test_a_model_that_raises_fails_member_by_member(root):
    path = plugin(root, "toy_raises", fit='if rng.random() < 2: raise RuntimeError("no luck")')
    run = job(root, "toy_raises", plugins=[path])
    members = run.train()
    assert {p.name for p in run.trained.iterdir()} == set(train.OUTPUTS)
    assert set(members["status"]) == {"failed"}
    assert set(members["reason"]) == {"exception: RuntimeError: no luck"}
    assert io.read_table(run.trained / "history.parquet", "history").empty
    status = run.status("train")
    assert (status["status"], status["reason"]) == ("failed", "exception: RuntimeError: no luck")


def test_the_failure_of_one_member_leaves_the_others_alone(root):
    path = plugin(root, "toy_half", fit='if self.params.size < 0: raise RuntimeError("no luck")')
    run = job(root, "toy_half", plugins=[path], grid={"size=1": {"size": 1.0}, "size=-1": {"size": -1.0}})
    members = run.train().set_index("grid_point")
    assert (members.loc["size=1", "status"] == "ok").all()
    assert (members.loc["size=-1", "status"] == "failed").all()
    assert run.status("train")["status"] == "ok"
    assert len(load_states(run.trained / "model.pt")) == 4


def test_a_second_training_that_raises_leaves_the_first(root, monkeypatch):
    def raises(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr("scident.models.vae.VAE.retrain_members", raises)
    run = job(root, "vae", grid={"default": SMALL})
    members = run.train()
    assert set(members["status"]) == {"ok"}
    assert set(members["retrained"]) == {"failed:exception: RuntimeError: no luck"}
    assert set(load_states(run.trained / "model.pt")) == set(members["member"])


def test_a_member_whose_loss_is_not_finite_fails_alone_with_its_curve(root):
    run = job(root, "vae", grid={"good": SMALL, "bad": SMALL | {"learning_rate": 1e30}})
    members = run.train().set_index("grid_point")
    assert set(members.loc["good", "status"]) == {"ok"}
    assert set(members.loc["bad", "reason"]) == {"nonfinite_loss"}
    history = io.read_table(run.trained / "history.parquet", "history")
    assert history["member"].nunique() == 8


def test_a_job_that_came_to_nothing_leaves_its_declared_outputs(root):
    run = job(root, "vae", grid={"default": SMALL})
    train.write_failed(run.spec, run.trained, "killed")
    assert {p.name for p in run.trained.iterdir()} == set(train.OUTPUTS)
    members = io.read_table(run.trained / "members.parquet", "members")
    assert len(members) == 4
    assert set(members["status"]) == {"failed"}
    assert set(members["reason"]) == {"killed"}
    assert load_states(run.trained / "model.pt") == {}
    assert run.status("train")["reason"] == "killed"


def test_training_sees_neither_truth_nor_other_cells(root):
    """A plug-in that looks: nothing but counts and labels of training and validation cells reaches it."""
    look = (
        "assert not list(train.obsm) and not list(train.uns) and not list(train.layers); "
        "assert set(train.obs['part']) == {'train'} and set(val.obs['part']) == {'val'}; "
        "assert set(train.obs['replicate']) == set(val.obs['replicate']) and train.obs['replicate'].nunique() == 1; "
        "assert 'p5' not in set(train.obs['perturbation']) | set(val.obs['perturbation']); "
        "assert list(train.obs['perturbation'].cat.categories) == [f'p{i}' for i in range(6)]; "
        "assert self.truth is None"
    )
    run = job(root, "toy_looks", plugins=[plugin(root, "toy_looks", fit=look)])
    assert set(run.train()["status"]) == {"ok"}


def test_members_record_the_penalty_that_was_used(root):
    work = job(root, "svae_plus", grid={"default": {"epochs": 1, "width": 8, "penalty_per_cell": 0.5}})
    work.train()
    cells = io.read_data(root / "train.h5ad")
    used = json.loads(io.read_table(work.trained / "members.parquet", "members")["params"].iloc[0])
    own = cells.obs[(cells.obs["replicate"] == 0) & (cells.obs["part"] == "train")]
    assert used["resolved"]["penalty"] == pytest.approx(0.5 * len(own) / own["perturbation"].nunique())
    assert used["learning_rate"] == 1e-3  # defaults are recorded too
