"""A screen too large for memory, mapped and streamed by every stage, has the numbers it would have in memory."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse

from _cells import mapped as cells_of
from _jobs import job
from scident import io, mapped
from scident.engine import batches, streaming
from scident.stages import data, split
from scident.stages._members import load_states

PLUGIN = '''"""A screen for tests."""

from pathlib import Path

import anndata as ad

from scident.info import DatasetInfo
from scident.params import PluginParams

info = DatasetInfo(label="Screen", source="this test", licence="none needed", organism="none")


class Params(PluginParams):
    """One file for each replicate."""

    path: str


def load(params, cache):
    return ad.read_h5ad(params.path)
'''


def raw(path, observation, seed):
    """Write a sparse screen of three contexts; genes of its cells are stored backwards."""
    cells = cells_of(labels=("control", "a", "b", "c"), per_label=240, contexts=("x", "y", "z"), seed=seed)
    if observation == "normal":
        noise = np.random.default_rng(seed).normal(size=cells.shape)
        cells.X = (np.log1p(cells.X) * noise).astype(np.float32)
        cells.uns["observation"] = "normal"
    x = sparse.csr_matrix(cells.X)
    backwards = np.concatenate([np.arange(start, stop)[::-1] for start, stop in pairwise(x.indptr)])
    cells.X = sparse.csr_matrix((x.data[backwards], x.indices[backwards], x.indptr), shape=x.shape)
    cells.write_h5ad(path)


def numbers(folder, use, observation, predict):
    """Run data, split, train and infer; return every array they end in."""
    folder.mkdir()
    plugins = [str(folder.with_name("screen.py"))]
    for r in (0, 1):
        raw(folder / f"raw{r}.h5ad", observation, r)
        params = {"path": str(folder / f"raw{r}.h5ad")}
        spec = {"name": "toy", "kind": "datasets", "use": "screen", "params": params, "plugins": plugins}
        data.run(spec, r, folder / f"r{r}.h5ad", None, folder)
    cut = {"dataset": "toy", "name": "unseen", "use": "unseen_pair", "protocol": "heldout", "replicates": [0, 1]}
    cut |= {"params": {"held_out": [["x", "a"], ["y", "b"]]}}
    outputs = (folder / name for name in ("parts.parquet", "train.h5ad", "parts.sha256"))
    split.run(cut, [folder / "r0.h5ad", folder / "r1.h5ad"], *outputs)
    run = job(folder, use, grid={"default": {"epochs": 2, "width": 8}}, predict=predict)
    run.spec["iwelbo_samples"] = 3
    assert set(run.train()["status"]) == {"ok"}
    assert set(run.infer()["status"]) == {"ok"}
    found = {f"{m}.{n}": v for m, s in load_states(run.trained / "model.pt").items() for n, v in s.items()}
    found["history"] = io.read_table(run.trained / "history.parquet", "history")["value"].to_numpy()
    for path in sorted(run.inferred.glob("*/*")):
        name = f"{path.parent.name}/{path.name}"
        if path.name == "latents.npz":
            found[name] = io.read_latents(path)[1]
        elif path.name == "likelihood.parquet":
            found[name] = io.read_table(path, "likelihood")[["nelbo", "iwelbo"]].to_numpy()
        elif path.name == "predictions.h5ad":
            found[name] = io.read_predictions(path)[0].mean
    return found


@pytest.mark.parametrize(
    ("use", "observation", "predict"),
    [("svae_plus", "counts", False), ("svae_plus", "normal", False), ("cond_vae", "counts", True)],
)
def test_numbers_are_equal_to_the_bit(tmp_path, monkeypatch, plugins, use, observation, predict):
    del plugins
    (tmp_path / "screen.py").write_text(PLUGIN)
    streamed = []
    plain = streaming.Streamed.gather
    monkeypatch.setattr(streaming.Streamed, "gather", lambda s, rows: (streamed.append(s), plain(s, rows))[1])
    wanted = numbers(tmp_path / "memory", use, observation, predict)
    assert not streamed
    for name, value in (("LARGE", 200), ("ROWS", 100), ("ENTRIES", 500)):
        monkeypatch.setattr(mapped, name, value)
    monkeypatch.setattr(batches, "RESIDENT", 0)
    found = numbers(tmp_path / "mapped", use, observation, predict)
    values = io.read_data(tmp_path / "mapped" / "train.h5ad").X.data
    assert isinstance(values, np.memmap)
    assert values.dtype == (np.uint16 if observation == "counts" else np.float32)
    assert all(isinstance(block.data, np.memmap) for block in streamed[0].blocks)
    assert found.keys() == wanted.keys()
    assert any(name.endswith("latents.npz") for name in wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
