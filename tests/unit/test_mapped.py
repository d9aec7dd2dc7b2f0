"""Large sparse expression is mapped, and holds what it would hold in memory."""

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy import sparse

from _cells import mapped as cells_of
from scident import contracts, io, mapped
from scident.errors import ContractError
from scident.stages import split, train

SPEC = {"dataset": "d", "name": "iid", "use": "iid", "protocol": "heldout", "params": {}, "replicates": [0]}


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(mapped, "LARGE", 200)
    monkeypatch.setattr(mapped, "ROWS", 7)
    monkeypatch.setattr(mapped, "ENTRIES", 64)


def screen(seed=0):
    """Counts of 120 cells and 6 genes, a few of them 0."""
    cells = cells_of(labels=("a", "b", "control"), per_label=40, seed=seed)
    cells.X = sparse.csr_matrix(cells.X)
    return cells


def lies_in_a_file(x):
    return isinstance(x.data, np.memmap) and isinstance(x.indices, np.memmap)


def test_read_maps_what_write_wrote_and_anndata_reads_it_too(tmp_path):
    cells = screen()
    io.write_h5ad(cells, tmp_path / "c.h5ad")
    found, theirs = io.read_data(tmp_path / "c.h5ad"), ad.read_h5ad(tmp_path / "c.h5ad")
    assert lies_in_a_file(found.X)
    assert (found.X.dtype, found.X.indices.dtype) == (np.uint16, np.int32)
    for one in (found, theirs):
        np.testing.assert_array_equal(one.X.toarray(), cells.X.toarray())
        assert one.obs.equals(cells.obs)
        assert one.var_names.equals(cells.var_names)
    assert found.uns == cells.uns


def test_small_matrices_and_files_of_others_are_read(tmp_path, monkeypatch):
    cells = screen()
    cells.write_h5ad(tmp_path / "theirs.h5ad")
    assert mapped.read(tmp_path / "theirs.h5ad") is None  # in pieces, so that it may grow
    io.write_h5ad(cells, tmp_path / "ours.h5ad")
    monkeypatch.setattr(mapped, "LARGE", 2**28)
    assert mapped.read(tmp_path / "ours.h5ad") is None
    cells.X = cells.X.toarray()
    io.write_h5ad(cells, tmp_path / "dense.h5ad")
    assert mapped.read(tmp_path / "dense.h5ad") is None


@pytest.mark.parametrize(
    ("values", "kept"),
    [([0, 65535], np.uint16), ([65536], np.float32), ([0.5], np.float32), ([-1], np.float32), ([np.nan], np.float32)],
)
def test_values_become_uint16_only_where_nothing_is_lost(values, kept):
    found = np.ones(200, dtype=np.float32)
    found[-len(values) :] = values
    assert mapped.narrowest(found) == kept


def test_arrays_of_a_file_are_aligned(tmp_path):
    x = screen().X[:, :5] * np.float32(0.5)
    path = tmp_path / "odd.h5ad"
    with h5py.File(path, "w") as file:
        file["note"] = b"odd"
    mapped.write(path, x)
    found = mapped.read(path)
    assert found.data.flags.aligned
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), x.toarray())


def test_genes_are_put_in_order_once_and_added_up_without_overflow(tmp_path):
    x = screen().X.astype(np.uint16)
    assert mapped.in_order(x) is x
    data, indices = [np.concatenate([one, one[::-1]]) for one in (np.full(40, 65535), np.arange(40))]
    odd = sparse.csr_matrix((data.astype(np.uint16), indices, np.array([0, 50, 80])), shape=(2, 40))
    dense = np.zeros((2, 40))
    np.add.at(dense, (np.repeat([0, 1], [50, 30]), indices), 65535)
    mapped.write(tmp_path / "odd.h5ad", odd)
    found = mapped.read(tmp_path / "odd.h5ad")
    assert found.has_canonical_format
    np.testing.assert_array_equal(found.toarray(), dense)
    np.testing.assert_array_equal(odd.indices, indices)


@pytest.mark.parametrize(
    "rows",
    [np.arange(10, 90), np.arange(0, 120, 2), np.array([3, 3, 1]), np.arange(120)[::-1], np.array([], dtype=np.int64)],
    ids=["stretch", "many", "few", "backwards", "none"],
)
def test_take_returns_the_rows_asked_for(tmp_path, rows):
    x = screen().X
    np.testing.assert_array_equal(mapped.take(x, rows).toarray(), x.toarray()[rows])


def test_take_of_a_stretch_shares_the_files_pages(tmp_path):
    io.write_h5ad(screen(), tmp_path / "c.h5ad")
    x = io.read_data(tmp_path / "c.h5ad").X
    part = mapped.take(x, np.arange(5, 20))
    assert np.shares_memory(part.data, x.data)
    assert np.shares_memory(part.indices, x.indices)


def test_subset_keeps_labels_and_every_category(monkeypatch):
    cells, rows = screen(), np.arange(120) % 3 == 0
    found = io.subset(cells, rows)
    assert lies_in_a_file(found.X)
    monkeypatch.setattr(mapped, "LARGE", 2**28)
    wanted = io.subset(cells, rows)
    np.testing.assert_array_equal(found.X.toarray(), wanted.X.toarray())
    assert found.obs.equals(wanted.obs)
    assert list(found.obs["perturbation"].cat.categories) == ["a", "b", "control"]
    assert io.digest_cells(found) == io.digest_cells(wanted)


def test_contract_looks_at_every_piece_of_the_values():
    cells = screen()
    contracts.check_data(cells)
    cells.X.data[-1] = 0.5
    with pytest.raises(ContractError, match="counts"):
        contracts.check_data(cells)


def worlds_of(folder, replicates):
    paths = [folder / f"r{r}.h5ad" for r in range(len(replicates))]
    for path, cells in zip(paths, replicates, strict=True):
        io.write_h5ad(cells, path)
    spec = SPEC | {"replicates": list(range(len(replicates)))}
    split.run(spec, paths, folder / "parts.parquet", folder / "train.h5ad", folder / "parts.sha256")
    cells = io.read_data(folder / "train.h5ad")
    return cells, [train._world(cells, r) for r in range(len(replicates))]


@pytest.mark.parametrize("replicates", [1, 2])
def test_training_maps_the_cells_it_would_have_read(tmp_path, monkeypatch, replicates):
    screens = [screen(seed) for seed in range(replicates)]
    cells, found = worlds_of(tmp_path / "mapped", screens)
    monkeypatch.setattr(mapped, "LARGE", 2**28)
    _, wanted = worlds_of(tmp_path / "read", screens)
    for one, other in zip(found, wanted, strict=True):
        for mine, theirs in zip(one[:2], other[:2], strict=True):
            assert np.shares_memory(mine.X.data, cells.X.data)
            np.testing.assert_array_equal(mine.X.toarray(), theirs.X.toarray())
            assert mine.obs.equals(theirs.obs)
            assert mine.uns == theirs.uns
