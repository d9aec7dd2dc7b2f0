"""Other latents of label-reading models: written part by part, scored as variants beside the model's own."""

import shutil

import numpy as np
import pytest

from _jobs import job, plugin
from _runs import expected_rows, make, write_status
from scident import io, registry
from scident.metrics import mcc_pearson

SHUFFLE = (
    (
        'return {{"prior_only": np.full((cells.n_obs, 3), float(cells.n_obs)), '
        '"shuffled_expression": np.log1p(cells.X[rng.permutation(cells.n_obs), :3].astype(float))}}'
    )
    .replace("{{", "{")
    .replace("}}", "}")
)


def companions(folder, values):
    """Write a companion beside a member's latents, its cells in another order."""
    cell_id, _, _ = io.read_latents(folder / "latents.npz")
    io.write_latents(folder / "latents.prior_only.npz", cell_id[::-1], values[::-1], ("x", "tx", "t"))


@pytest.fixture
def declared(monkeypatch):
    """Three metrics are repeated on companions and no others."""
    original = registry.describe

    def describe(kind, name):
        info = original(kind, name)
        if kind == "metrics":
            object.__setattr__(info, "companions", name in ("mcc_pearson", "seed_mcc", "r2_linear"))
        return info

    monkeypatch.setattr(registry, "describe", describe)


def test_companions_are_written_beside_the_latents_and_made_part_by_part(root):
    one = job(root, "toy_beside", plugins=[plugin(root, "toy_beside", companions=SHUFFLE)])
    one.train()
    assert set(one.infer()["status"]) == {"ok"}
    folder = one.inferred / "r0.g0.s0"
    files = {"latents.npz", "latents.prior_only.npz", "latents.shuffled_expression.npz"}
    assert {path.name for path in folder.iterdir()} == files
    parts = io.read_table(root / "parts.parquet", "parts")
    part = parts[parts["replicate"] == 0].set_index("cell_id")["part"]
    cell_id, z, _ = io.read_latents(folder / "latents.prior_only.npz")
    np.testing.assert_array_equal(z[:, 0], part[cell_id].map(part.value_counts()))
    own, shuffled = (io.read_latents(folder / f"latents{name}.npz")[1] for name in ("", ".shuffled_expression"))
    for name in part.unique():
        rows = (part[cell_id] == name).to_numpy()
        np.testing.assert_array_equal(np.sort(shuffled[rows], axis=0), np.sort(own[rows], axis=0))
        assert (shuffled[rows] != own[rows]).any()
    again = io.read_latents(one.inferred / "r0.g0.s1" / "latents.shuffled_expression.npz")[1]
    assert not np.array_equal(again, shuffled)


def test_a_model_without_companions_writes_none(root):
    one = job(root, "toy_alone", plugins=[plugin(root, "toy_alone")])
    one.train()
    one.infer()
    assert {path.name for path in (one.inferred / "r0.g0.s0").iterdir()} == {"latents.npz"}


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("toy_c_nan", 'return {"prior_only": np.full((cells.n_obs, 3), np.nan)}', "nonfinite_latents"),
        ("toy_c_short", 'return {"prior_only": np.zeros((1, 3))}', "one row per cell"),
    ],
)
def test_a_broken_companion_fails_its_member(root, name, code, reason):
    one = job(root, name, plugins=[plugin(root, name, companions=code)])
    one.train()
    members = one.infer()
    assert set(members["status"]) == {"failed"}
    assert members["reason"].str.contains(reason).all()


@pytest.mark.usefixtures("declared")
def test_companions_are_scored_as_variants_and_change_no_other_row(tmp_path):
    run = make(tmp_path)
    before, _ = run.score()
    for replicate in (0, 1):
        for seed in (0, 1):
            noise = np.random.default_rng([replicate, seed]).standard_normal((1120, 3))
            companions(run.folder(replicate, seed), noise)
    after, _ = run.score()
    extra = after["variant"].str.endswith("prior_only")
    assert after[~extra].reset_index(drop=True).equals(before)
    found = after[extra]
    assert set(found["metric"]) == {"mcc_pearson", "seed_mcc", "r2_linear"}
    variants = set(found.loc[found["metric"] == "r2_linear", "variant"])
    assert variants == {"prior_only", "within:prior_only"}
    noise = found[(found["metric"] == "mcc_pearson") & (found["scope"] == "iid")]
    assert noise["value"].lt(0.5).all()
    assert len(noise) == 4
    assert found.loc[found["metric"] == "seed_mcc", "seed"].isna().all()


@pytest.mark.usefixtures("declared")
def test_a_companion_has_blocks_and_nothing_else_of_its_model(tmp_path, monkeypatch):
    run, seen = make(tmp_path), []
    for replicate in (0, 1):
        for seed in (0, 1):
            companions(run.folder(replicate, seed), np.zeros((1120, 3)))
    original = mcc_pearson.score
    monkeypatch.setattr(mcc_pearson, "score", lambda inputs, *a: seen.append(inputs.member) or original(inputs, *a))
    run.score()
    own, others = [m for m in seen if m.blocks is None], [m for m in seen if m.blocks == ("x", "tx", "t")]
    assert len(own) == len(others) == 8
    assert all(m.targets is not None and m.likelihood for m in own)
    assert all(m.targets is None and not m.likelihood and m.predictions is None for m in others)


@pytest.mark.usefixtures("declared")
def test_a_companion_that_is_not_there_has_no_row(tmp_path):
    run = make(tmp_path)
    companions(run.folder(0, 0), np.random.default_rng(0).standard_normal((1120, 3)))
    shutil.rmtree(run.folder(0, 1))
    write_status(run, failed={"r0.g0.s1": "oom"})
    scores, _ = run.score()
    found = scores[scores["variant"].str.endswith("prior_only")]
    each = found[found["metric"] == "mcc_pearson"]
    assert set(zip(each["replicate"], each["seed"], strict=True)) == {(0, 0)}
    assert set(found.loc[found["metric"] == "seed_mcc", "reason"]) == {"member_failed"}
    plain = scores[~scores["variant"].str.endswith("prior_only") & scores["perturbation"].isna()]
    assert len(plain) == len(expected_rows(run.spec, ("iid", "ood", "val")))


@pytest.mark.usefixtures("declared")
def test_a_metric_that_fails_on_a_companion_says_so_there(tmp_path):
    run = make(tmp_path)
    companions(run.folder(0, 0), np.full((1120, 3), np.nan))
    scores, _ = run.score()
    failed = scores[scores["status"] == "failed"]
    assert set(failed["reason"]) == {"nonfinite_latents"}
    each = failed[failed["metric"] != "seed_mcc"]
    assert set(each["variant"]) == {"prior_only", "within:prior_only"}
