"""Batches from sparse cells are those of dense cells, to the bit."""

import numpy as np
import pytest
import torch
from scipy import sparse

from _tiny import CPU, member, params_of, world
from scident.engine import batches, streaming
from scident.engine.batches import Cells
from scident.engine.streaming import Buffers, Streamed, fill
from scident.models.svae_plus import SVAEPlus

GENES = 600
"""More than two tiles."""


def blocks(dtype=np.uint16, seed=0):
    """Three blocks of counts; a cell without any, and a gene that none has."""
    rng = np.random.default_rng(seed)
    found = [rng.poisson(0.4, (n, GENES)).astype(dtype) for n in (50, 7, 23)]
    found[0][4], found[0][:, 257] = 0, 0
    return [sparse.csr_matrix(block) for block in found]


def both(sparse_blocks, monkeypatch, dtype=torch.float32):
    """The same cells, streamed and dense."""
    labels = [np.arange(block.shape[0]) for block in sparse_blocks]
    found = []
    for most in (0, 2**29):
        monkeypatch.setattr(batches, "RESIDENT", most)
        found.append(Cells(sparse_blocks, labels, CPU, dtype))
    assert [type(cells.store) for cells in found] == [Streamed, batches.Resident]
    return found


ROWS = {
    "one block each": [[3, 0, 4, 49], [57, 79, 60, 58], [50, 51, 56, 50]],
    "several blocks": [[49, 50, 57, 4], [79, 0, 56, 78], [1, 2, 3, 60]],
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.int64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_streamed_batches_are_the_dense_ones(monkeypatch, rows, kind, dtype):
    streamed, dense = both(blocks(kind), monkeypatch, dtype)
    for _ in range(2):  # the second is written over the first
        one, other = (cells.gather(torch.tensor(rows)) for cells in (streamed, dense))
        for name in ("counts", "log_library", "labels", "contexts"):
            mine, theirs = getattr(one, name), getattr(other, name)
            assert torch.equal(mine, theirs), name
            assert (mine.dtype, mine.stride()) == (theirs.dtype, theirs.stride())
        del one, mine


def test_genes_in_any_order_and_twice_are_added_up(monkeypatch):
    data, indices = np.array([1, 2, 4, 8], dtype=np.uint16), np.array([9, 2, 9, 0])
    odd = sparse.csr_matrix((data, indices, np.array([0, 3, 4])), shape=(2, GENES))
    streamed, dense = both([odd], monkeypatch)
    rows = torch.tensor([[1, 0]])
    assert torch.equal(streamed.gather(rows).counts, dense.gather(rows).counts)
    assert streamed.gather(rows).counts[0, 9, 1] == 5
    np.testing.assert_array_equal(odd.indices, [9, 2, 9, 0])


def test_dense_cells_stay_dense_however_many(monkeypatch):
    monkeypatch.setattr(batches, "RESIDENT", 0)
    assert isinstance(Cells([blocks()[0].toarray()], [np.zeros(50)], CPU, torch.float32).store, batches.Resident)


def test_the_loop_as_it_stands_does_what_the_compiled_one_does():
    x, rows, columns = blocks()[0], np.array([5, 4, 9]), np.array([2, 0, 1])
    found = []
    for run in (fill, streaming.compiled_fill()):
        out, library = np.full((GENES, 3), 7.0), np.empty(3)
        run(x.data, x.indices, x.indptr, rows, columns, out, library, np.int64(0), True)
        found.append((out, library))
    np.testing.assert_array_equal(found[0][0], x.toarray()[[4, 9, 5]].T)
    np.testing.assert_array_equal(found[0][1], x.toarray()[[4, 9, 5]].sum(1))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_buffers_are_used_again_only_when_nobody_holds_them():
    buffers = Buffers()
    first = buffers.take((2, 3), torch.float32)
    address, view = first.data_ptr(), first[1]
    assert buffers.take((2, 3), torch.float32).data_ptr() != address
    del first
    assert buffers.take((2, 3), torch.float32).data_ptr() != address  # the view is left
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * view).sum()
    del view
    assert buffers.take((2, 3), torch.float32).data_ptr() != address  # the graph holds it
    del loss
    assert {buffers.take((1, 6), torch.float32).data_ptr() for _ in range(3)} <= {
        one.ctypes.data for one in buffers.kept
    }
    assert len(buffers.kept) == 2


def test_a_smaller_batch_lies_in_the_larger_ones_buffer():
    buffers = Buffers()
    large = buffers.take((4, 4), torch.float64).data_ptr()
    assert buffers.take((3, 2), torch.float32).data_ptr() == large
    buffers.take((8, 4), torch.float64)
    assert len(buffers.kept) == 1


def test_members_trained_from_streamed_cells_are_equal_to_the_bit(monkeypatch):
    place = world()
    for cells in (place.train, place.val):
        cells.X = sparse.csr_matrix(cells.X.astype(np.uint16))
    members = [member(place, params_of("svae_plus", epochs=3), seed, name=f"r0.g0.s{seed}") for seed in (0, 1)]
    found = []
    for most in (0, 2**29):
        monkeypatch.setattr(batches, "RESIDENT", most)
        found.append(SVAEPlus.fit_members(members))
    for one, other in zip(*found, strict=True):
        assert one.history == other.history
        assert one.model is not None
        assert one.model.state.keys() == other.model.state.keys()
        assert all(np.array_equal(one.model.state[n], other.model.state[n]) for n in one.model.state)
        np.testing.assert_array_equal(one.model.embed(place.val), other.model.embed(place.val))
