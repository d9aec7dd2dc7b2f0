import numpy as np
import pytest

from _cells import cells
from scident import io, registry
from scident.errors import ContractError, PluginError
from scident.stages import data

SMALL = {"n_perturbations": 6, "cells_per_perturbation": 8, "n_latents": 3, "n_hidden": 4, "n_genes": 9}
WORLD = {"name": "world", "kind": "simulators", "use": "sparse_shift", "params": SMALL}

PLUGIN = """
import anndata as ad, numpy as np, pandas as pd
from scident.info import DatasetInfo
from scident.params import PluginParams

info = DatasetInfo(label="Odd", source="a test")

class Params(PluginParams):
    pass

def load(params, cache):
    obs = pd.DataFrame({"perturbation": ["a", "b"], "is_control": False, "context": "all"}, index=["c0", "c1"])
    return ad.AnnData(np.ones((2, 3)), obs=obs)
"""


def made(tmp_path, replicate=0, spec=WORLD):
    paths = tmp_path / f"r{replicate}.h5ad", tmp_path / f"r{replicate}.truth.h5ad"
    data.run(spec, replicate, *paths, tmp_path / "cache")
    return io.read_data(paths[0]), io.read_truth(paths[1])


def test_run_parts_data_and_truth(tmp_path):
    observed, truth = made(tmp_path)
    assert not observed.obsm
    assert not observed.uns
    assert truth.obs_names.equals(observed.obs_names)
    assert truth.n_vars == 0
    assert truth.obsm["z_true"].shape == (48, 3)
    assert list(truth.uns["perturbations"]) == list(observed.obs["perturbation"].cat.categories)
    np.testing.assert_array_equal(truth.uns["targets"], truth.uns["shift"] != 0)
    assert truth.uns["world"]["simulator"] == "sparse_shift"


def test_separate_hides_columns_that_no_contract_names():
    adata = cells()
    adata.obs = adata.obs.assign(is_control=False, context="all", batch="b", guide="truth", dose=1.0)
    adata.var["factor"] = 1
    observed, _ = data.separate(adata)
    assert list(observed.obs) == ["perturbation", "is_control", "context", "dose", "batch"]
    assert list(observed.var) == []
    assert observed.var_names.equals(adata.var_names)


def test_separate_tells_models_what_x_holds_and_nothing_else_of_uns():
    adata = cells()
    adata.obs = adata.obs.assign(is_control=False, context="all")
    adata.uns = {"observation": "normal", "world": {"a": 1}, "blocks": np.array(["x"])}
    adata.obsm["z_true"] = np.zeros((adata.n_obs, 1))
    adata.obs["perturbation"] = adata.obs["perturbation"].astype("category")
    observed, hidden = data.separate(adata)
    assert dict(observed.uns) == {"observation": "normal"}
    assert set(hidden.uns) == {"world", "blocks", "perturbations"}


def test_run_writes_the_same_bytes_twice(tmp_path):
    made(tmp_path / "a")
    made(tmp_path / "b")
    for name in ("r0.h5ad", "r0.truth.h5ad"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_run_redraws_the_world_for_each_replicate_and_name(tmp_path):
    first = made(tmp_path)[1].uns["world"]["W1"]
    assert (first != made(tmp_path, replicate=1)[1].uns["world"]["W1"]).any()
    assert (first != made(tmp_path, spec=WORLD | {"name": "other"})[1].uns["world"]["W1"]).any()


def test_run_writes_data_alone_where_there_is_no_truth(tmp_path):
    cells().write_h5ad(tmp_path / "mine.h5ad")
    spec = {"name": "mine", "kind": "datasets", "use": "h5ad", "params": {"path": str(tmp_path / "mine.h5ad")}}
    data.run(spec, 0, tmp_path / "out" / "r0.h5ad", None, tmp_path)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["r0.h5ad"]
    with pytest.raises(PluginError, match="a truth file is asked for"):
        data.run(spec, 0, tmp_path / "again" / "r0.h5ad", tmp_path / "again" / "r0.truth.h5ad", tmp_path)
    assert not (tmp_path / "again").exists()


def test_run_moves_a_files_own_truth(tmp_path):
    adata = cells()
    adata.obsm["latent"], adata.uns["moves"] = np.ones((80, 2)), np.eye(4)[:, :2]
    adata.write_h5ad(tmp_path / "mine.h5ad")
    params = {"path": str(tmp_path / "mine.h5ad"), "truth": {"z": "latent", "shift": "moves"}}
    observed, truth = made(tmp_path, spec={"name": "mine", "kind": "datasets", "use": "h5ad", "params": params})
    assert not observed.obsm
    assert truth.uns["targets"].sum() == 2


def test_run_refuses_a_plugin_that_breaks_the_data_contract(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_plugins", {})  # the plug-in goes with its folder
    plugin = tmp_path / "odd_for_the_data_stage.py"
    plugin.write_text(PLUGIN)
    spec = {"name": "odd", "kind": "datasets", "use": plugin.stem, "params": {}, "plugins": [str(plugin)]}
    with pytest.raises(ContractError, match="must be categorical"):
        data.run(spec, 0, tmp_path / "out" / "r0.h5ad", None, tmp_path)
    assert not (tmp_path / "out").exists()
