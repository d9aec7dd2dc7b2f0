"""Preparation from files to files: which cells are left aside, which genes are left, and that all stages follow."""

import numpy as np
import pytest
from scipy import sparse

from _cells import mapped
from _jobs import job
from scident import io, preparation
from scident import mapped as mapping
from scident.errors import ConfigError
from scident.expression import log_normalised
from scident.stages import _expression, split

SPEC = {"dataset": "d", "name": "unseen", "use": "unseen_perturbation", "protocol": "heldout", "params": {"last_n": 1}}


@pytest.fixture(autouse=True)
def one_bin(monkeypatch):
    """With 20 bins most of 30 genes would have no like to be compared with."""
    monkeypatch.setattr(preparation, "BINS", 1)


def screen(seed=0, genes=30):
    """The first six genes vary by perturbation, the last two are counted in few cells; cells c0 and c1 are poor."""
    cells = mapped(labels=("control", "a", "b", "c"), per_label=60, genes=genes, seed=seed)
    mean = np.array([0.2, 8.0, 3.0, 1.0])[cells.obs["perturbation"].cat.codes]
    cells.X[:, :6] = np.random.default_rng(seed).poisson(mean[:, None], (cells.n_obs, 6))
    cells.X[:, -2:] = 0
    cells.X[5:8, -2:] = 1
    cells.X[:2] = 0
    cells.X[:2, 0] = [1, 2]
    return cells


def run(folder, replicates=(0,), stored=sparse.csr_matrix, **prepare):
    """Cut and prepare; returns (parts, train)."""
    paths = [folder / f"r{r}.h5ad" for r in replicates]
    for path in paths:
        cells = screen()
        cells.X = stored(cells.X)
        io.write_h5ad(cells, path)
    outputs = [folder / name for name in ("parts.parquet", "train.h5ad", "parts.sha256")]
    split.run(SPEC | {"replicates": list(replicates), "prepare": prepare}, paths, *outputs)
    return io.read_table(outputs[0], "parts"), io.read_data(outputs[1])


def test_nothing_asked_for_leaves_every_cell_and_gene(tmp_path):
    parts, train = run(tmp_path)
    assert "unused" not in set(parts["part"])
    assert train.n_vars == 30


def test_poor_cells_are_left_aside_and_move_no_other(tmp_path):
    before, _ = run(tmp_path / "all")
    after, train = run(tmp_path / "good", min_counts=3)
    poor = after["cell_id"].isin(["c0", "c1"])
    assert set(after.loc[poor, "part"]) == {"unused"}
    assert not after.loc[poor, "heldout"].any()
    assert after[~poor].equals(before[~poor])
    assert not {"c0", "c1"} & set(train.obs["cell_id"])
    assert train.n_vars == 30


@pytest.mark.parametrize("stored", [np.asarray, sparse.csr_matrix, lambda x: sparse.csr_matrix(x).astype(np.uint16)])
def test_variable_genes_are_chosen_and_cells_without_them_left_aside(tmp_path, stored):
    parts, train = run(tmp_path, stored=stored, top_genes=6)
    assert train.var_names.tolist() == [f"g{j}" for j in range(6)]
    whole = screen()[train.obs["cell_id"].astype(str)]
    np.testing.assert_array_equal(train.to_df(), whole.X[:, :6])
    bare = screen().X[:, :6].sum(1) == 0
    assert (parts["part"] == "unused").tolist() == bare.tolist()


def test_large_data_are_prepared_like_small_ones(tmp_path, monkeypatch):
    parts, train = run(tmp_path / "small", min_counts=3, top_genes=6)
    monkeypatch.setattr(mapping, "LARGE", 200)
    monkeypatch.setattr(mapping, "ROWS", 7)
    again, large = run(tmp_path / "large", min_counts=3, top_genes=6)
    assert isinstance(large.X.data, np.memmap)
    assert again.equals(parts)
    assert large.var_names.equals(train.var_names)
    order = large.obs_names.get_indexer(train.obs_names)
    np.testing.assert_array_equal(large.X.toarray()[order], train.X.toarray())


def test_genes_of_all_replicates_are_chosen_on_cells_that_all_may_see(tmp_path):
    """The last gene is counted in three cells; it stays where these are training cells of every replicate."""
    parts, train = run(tmp_path, (0, 1, 2), min_cells=1)
    seen = parts[parts["part"].isin(["train", "val"])].groupby("cell_id").size()
    common = seen.index[seen == 3]
    own = screen()[sorted(common, key=lambda name: int(name[1:]))]
    assert train.var_names.tolist() == own.var_names[(own.X > 0).any(axis=0)].tolist()
    assert train.n_obs == seen.sum()


def test_every_stage_uses_the_genes_that_training_saw(tmp_path):
    run(tmp_path, (0, 1), top_genes=6, min_counts=3)
    one = job(tmp_path, "no_change", fitted_seeds=(0,), predict=True)
    one.train()
    assert set(one.infer()["status"]) == {"ok"}
    genes = io.genes_of(tmp_path / "train.h5ad")
    assert io.read_predictions(one.inferred / "r0.g0.s0" / "predictions.h5ad")[1] == tuple(genes)
    parts = io.read_table(tmp_path / "parts.parquet", "parts").query("replicate == 0")["part"].to_numpy()
    found = _expression.observed(tmp_path / "r0.h5ad", parts, genes)["ood"]
    assert found.genes == tuple(genes)
    cells = io.with_genes(io.read_data(tmp_path / "r0.h5ad"), genes)
    wanted = log_normalised(cells)[parts == "heldout_score"].mean(0)
    np.testing.assert_allclose(found.mean[0], wanted)


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        ({"min_counts": 10**6}, "leaves d no cell in the part 'train'"),
        ({"min_cells": 10**6}, r"datasets.d.prepare leaves 0 of 30 genes; ask for fewer cells by min_cells"),
        ({"min_counts": 10**6, "top_genes": 5}, "cells that all 1 replicates train on, and these are 0"),
    ],
)
def test_what_leaves_nothing_is_refused(tmp_path, prepare, says):
    with pytest.raises(ConfigError, match=says):
        run(tmp_path, **prepare)
    assert not (tmp_path / "train.h5ad").exists()


def test_other_numbers_than_counts_are_refused(tmp_path):
    cells = screen()
    cells.uns["observation"] = "normal"
    io.write_h5ad(cells, tmp_path / "r0.h5ad")
    outputs = [tmp_path / name for name in ("parts.parquet", "train.h5ad", "parts.sha256")]
    with pytest.raises(ConfigError, match="prepare is for counts, but the data hold other numbers"):
        split.run(SPEC | {"replicates": [0], "prepare": {"top_genes": 5}}, [tmp_path / "r0.h5ad"], *outputs)
