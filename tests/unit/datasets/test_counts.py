"""Counts are read in blocks: equal to the whole matrix sliced, in little more memory than the result."""

import tracemalloc

import h5py
import numpy as np
import pytest
from scipy import sparse

from scident.datasets import _counts
from scident.errors import DataError

FORMS = {"array": np.asarray, "csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}


def stored(path, x, form, dtype=np.float32):
    import anndata as ad

    with h5py.File(path, "w") as file:
        ad.io.write_elem(file, "X", FORMS[form](x.astype(dtype)))
    return h5py.File(path, "r")["X"]


def matrix(cells=37, genes=23, seed=0):
    return np.random.default_rng(seed).poisson(0.5, (cells, genes))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block", [1, 7, 50, 2**23])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_read_equals_the_sliced_matrix_whatever_the_block(form, block, share, monkeypatch, tmp_path):
    monkeypatch.setattr(_counts, "BLOCK", block)
    x, rng = matrix(), np.random.default_rng(1)
    cells, genes = rng.random(37) <= share, rng.random(23) <= share
    found = _counts.read(stored(tmp_path / "x.h5", x, form), cells, genes)
    assert found.format == "csr"
    assert found.dtype == np.uint16
    assert found.has_sorted_indices
    np.testing.assert_array_equal(found.toarray(), x[cells][:, genes])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64, np.int32])
def test_read_takes_whole_numbers_of_any_type(form, dtype, tmp_path):
    x = matrix()
    found = _counts.read(stored(tmp_path / "x.h5", x, form, dtype), np.ones(37, bool), np.ones(23, bool))
    np.testing.assert_array_equal(found.toarray(), x)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("largest", "dtype"), [(65535, np.uint16), (65536, np.uint32)])
def test_read_widens_only_for_counts_that_do_not_fit(form, largest, dtype, monkeypatch, tmp_path):
    monkeypatch.setattr(_counts, "BLOCK", 40)
    x = matrix()
    x[30, 20] = largest
    found = _counts.read(stored(tmp_path / "x.h5", x, form), np.ones(37, bool), np.ones(23, bool))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.toarray(), x)


def test_read_drops_stored_zeros(tmp_path):
    x = sparse.csc_matrix(matrix().astype(np.float32))
    x.data[:5] = 0
    import anndata as ad

    with h5py.File(tmp_path / "x.h5", "w") as file:
        ad.io.write_elem(file, "X", x)
    with h5py.File(tmp_path / "x.h5") as file:
        found = _counts.read(file["X"], np.ones(37, bool), np.ones(23, bool))
    assert found.nnz == np.count_nonzero(x.toarray())
    np.testing.assert_array_equal(found.toarray(), x.toarray())


def test_read_refuses_counts_beyond_what_any_cell_holds(tmp_path):
    x = matrix()
    x[0, 0] = 2**33
    with pytest.raises(DataError, match="X holds the count 8,589,934,592"):
        _counts.read(stored(tmp_path / "x.h5", x, "array", np.float64), np.ones(37, bool), np.ones(23, bool))


@pytest.mark.parametrize("form", FORMS)
def test_read_takes_little_more_memory_than_its_result(form, monkeypatch, tmp_path):
    monkeypatch.setattr(_counts, "BLOCK", 2**13)
    x = (np.random.default_rng(0).random((3000, 1000)) < 0.3).astype(np.float32)
    file = stored(tmp_path / "x.h5", x, form)
    size = int(x.sum()) * (2 + 4)
    every = np.ones(3000, bool), np.ones(1000, bool)
    del x
    tracemalloc.start()
    found = _counts.read(file, *every)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.nnz * 6 == size
    # rows are kept as blocks until they are joined: twice the result is asked for, once is touched
    assert peak < (1.5 if form == "csc_matrix" else 2.5) * size
