import numpy as np
import pytest

from _jobs import job, plugin
from scident import io
from scident.stages import infer

SMALL = {"epochs": 2, "width": 8}
MEMBER_FILES = {"latents.npz", "targets.parquet", "likelihood.parquet"}


def run(run, truth=False):
    run.train()
    return run.infer(truth)


def names_of(root, replicate, label):
    cells = io.read_data(root / f"r{replicate}.h5ad")
    return cells.obs_names[cells.obs["perturbation"] == label]


def names(folder):
    return {p.name for p in folder.iterdir()}


def test_infer_writes_what_the_model_gives(root):
    one = job(root, "svae_plus", grid={"default": SMALL})
    members = run(one)
    assert set(members["status"]) == {"ok"}
    assert set(members["epochs"]) == {2}
    assert names(one.inferred) == set(members["member"]) | {"members.parquet", "status.json"}
    parts = io.read_table(root / "parts.parquet", "parts").set_index(["replicate", "cell_id"])["part"]
    for row in members.to_dict("records"):
        folder = one.inferred / row["member"]
        assert names(folder) == MEMBER_FILES
        cells = io.read_data(root / f"r{row['replicate']}.h5ad")
        cell_id, z, _ = io.read_latents(folder / "latents.npz")
        assert list(cell_id) == list(cells.obs_names)
        assert z.shape == (150, 3)
        targets = io.read_table(folder / "targets.parquet", "targets")
        assert len(targets) == 6 * 3
        assert set(targets["source"]) == {"mask"}
        assert list(targets["perturbation"].unique()) == list(cells.obs["perturbation"].cat.categories)
        likelihood = io.read_table(folder / "likelihood.parquet", "likelihood")
        own = parts.loc[row["replicate"]]
        for protocol, scored in likelihood.groupby("protocol")["cell_id"]:
            wanted = {"val", "fit", "score"} if protocol == "" else {"heldout_score"}
            assert sorted(scored) == sorted(own.index[own.isin(wanted)])
        assert set(likelihood["protocol"]) == {"", "zero_shot", "finetuned_half"}
        assert np.isfinite(likelihood["nelbo"]).all()
    status = one.status("infer")
    assert (status["status"], status["stage"]) == ("ok", "infer")
    assert {"wall_s", "cpu_s", "peak_rss_mb"} <= set(status["costs"])


def test_codes_mean_the_same_in_the_scored_cells_as_in_all(root):
    """A label whose cells are all training cells must not be dropped from the names: the others' codes would move."""
    parts = io.read_table(root / "parts.parquet", "parts")
    first = {name for r in (0, 1) for name in names_of(root, r, "p0")}
    trained = parts["part"].mask(parts["cell_id"].isin(first), "train")
    (root / "parts.parquet").unlink()
    io.write_table(parts.assign(part=trained), root / "parts.parquet", "parts")
    path = plugin(root, "toy_codes", gives=("latents", "likelihood"))
    one = job(root, "toy_codes", plugins=[path])
    run(one)
    for r in (0, 1):
        found = io.read_table(one.inferred / f"r{r}.g0.s0" / "likelihood.parquet", "likelihood")
        cells = io.read_data(root / f"r{r}.h5ad")
        expected = cells.obs["perturbation"].cat.codes.loc[found["cell_id"]]
        np.testing.assert_array_equal(found["nelbo"], expected)


@pytest.mark.parametrize(
    ("use", "expected"), [("vae", {"latents.npz", "likelihood.parquet"}), ("pca", {"latents.npz"})]
)
def test_what_a_model_does_not_give_is_absent(root, use, expected):
    one = job(root, use, grid={"default": SMALL if use == "vae" else {}}, fitted_seeds=(0,))
    members = run(one)
    assert all(names(one.inferred / m) == expected for m in members["member"])


def test_a_deterministic_model_stands_under_every_seed(root):
    one = job(root, "pca", seeds=(0, 1, 2), fitted_seeds=(0,))
    members = run(one)
    assert len(io.read_table(one.trained / "members.parquet", "members")) == 2
    assert list(members["member"]) == [f"r{r}.g0.s{s}" for r in (0, 1) for s in (0, 1, 2)]
    assert list(members["fitted_as"]) == [f"r{r}.g0.s0" for r in (0, 1) for s in (0, 1, 2)]
    assert list(members["seed"]) == [0, 1, 2, 0, 1, 2]
    z = [io.read_latents(one.inferred / f"r0.g0.s{s}" / "latents.npz")[1] for s in (0, 1, 2)]
    assert np.array_equal(z[0], z[1])
    assert np.array_equal(z[0], z[2])


def test_a_positive_control_reads_the_truth(root):
    one = job(root, "oracle_truth", fitted_seeds=(0,))
    members = run(one, truth=True)
    assert set(members["status"]) == {"ok"}
    _, z, _ = io.read_latents(one.inferred / "r1.g0.s1" / "latents.npz")
    true = io.read_truth(root / "r1.truth.h5ad")
    np.testing.assert_allclose(z, true.obsm["z_true"], rtol=1e-6)
    targets = io.read_table(one.inferred / "r1.g0.s1" / "targets.parquet", "targets")
    np.testing.assert_array_equal(targets["on"].to_numpy().reshape(6, 3), true.uns["targets"])


def test_nobody_else_reads_the_truth_even_if_it_is_there(root, monkeypatch):
    def refuse(path):
        raise AssertionError(path)

    monkeypatch.setattr(io, "read_truth", refuse)
    path = plugin(root, "toy_peeks", embed="assert self.truth is None")
    assert set(run(job(root, "toy_peeks", plugins=[path]), truth=True)["status"]) == {"ok"}
    with pytest.raises(AssertionError, match="truth"):
        run(job(root, "oracle_truth", fitted_seeds=(0,)), truth=True)


def test_what_does_not_apply_is_not_a_failure(root):
    for r in (0, 1):
        true = io.read_truth(root / f"r{r}.truth.h5ad")
        del true.uns["world"]
        (root / f"r{r}.truth.h5ad").unlink()
        io.write_h5ad(true, root / f"r{r}.truth.h5ad")
    one = job(root, "oracle_noisy", fitted_seeds=(0,))
    members = run(one, truth=True)
    assert set(members["status"]) == {"not_applicable"}
    assert set(members["reason"]) == {"no_world"}
    assert one.status("infer")["members"]["r0.g0.s0"] == {"status": "not_applicable", "reason": "no_world"}


@pytest.mark.parametrize(
    ("name", "embed", "reason"),
    [
        ("toy_breaks", 'raise RuntimeError("no luck")', "exception: RuntimeError: no luck"),
        ("toy_nan", "return np.full((cells.n_obs, 2), np.nan)", "nonfinite_latents"),
        ("toy_oom", "raise MemoryError", "oom"),
        ("toy_short", "return np.zeros((3, 2))", "exception: ValueError: embed must return one row per cell"),
    ],
)
def test_a_model_that_breaks_its_word_is_a_row(root, name, embed, reason):
    one = job(root, name, plugins=[plugin(root, name, embed=embed)])
    members = run(one)
    assert set(members["status"]) == {"failed"}
    assert members["reason"].str.startswith(reason).all()
    assert names(one.inferred) == {"members.parquet", "status.json"}
    assert one.status("infer")["status"] == "failed"


def test_the_failure_of_one_member_leaves_the_others_alone(root):
    path = plugin(root, "toy_partly", embed='if self.params.size < 0: raise RuntimeError("no luck")')
    one = job(root, "toy_partly", plugins=[path], grid={"a": {"size": 1.0}, "b": {"size": -1.0}})
    members = run(one).set_index("grid_point")
    assert set(members.loc["a", "status"]) == {"ok"}
    assert set(members.loc["b", "status"]) == {"failed"}
    assert names(one.inferred) == {*members.loc["a", "member"], "members.parquet", "status.json"}
    assert one.status("infer")["status"] == "ok"


def test_a_failed_training_is_passed_on_with_its_reason(root):
    path = plugin(root, "toy_untrained", fit='if rng.random() < 2: raise RuntimeError("no luck")')
    one = job(root, "toy_untrained", plugins=[path])
    assert set(run(one)["reason"]) == {"exception: RuntimeError: no luck"}
    assert names(one.inferred) == {"members.parquet", "status.json"}


@pytest.mark.parametrize(("use", "fitted", "rows"), [("vae", (0, 1), 4), ("pca", (0,), 4)])
def test_a_job_that_came_to_nothing_leaves_its_declared_output(root, use, fitted, rows):
    one = job(root, use, fitted_seeds=fitted)
    infer.write_failed(one.spec, one.inferred, "killed")
    members = io.read_table(one.inferred / "members.parquet", "members")
    assert len(members) == rows
    assert set(members["reason"]) == {"killed"}
    assert one.status("infer")["reason"] == "killed"


def test_a_plugin_that_was_killed_leaves_its_declared_output_too(root):
    """The parent process, which never ran the job, writes it."""
    one = job(root, "toy_killed", plugins=[plugin(root, "toy_killed")])
    infer.write_failed(one.spec, one.inferred, "killed")
    assert len(io.read_table(one.inferred / "members.parquet", "members")) == 4
