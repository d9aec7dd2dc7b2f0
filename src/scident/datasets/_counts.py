"""Counts of some cells and genes of an h5ad file as CSR, read in blocks: never more in memory than result and block.

A file keeps its matrix dense, by rows (CSR) or by columns (CSC). Rows are read once and joined; columns are read twice,
first to count what each row will hold, then to put it there.
"""

from collections.abc import Iterator
from typing import TypeAlias

import h5py
import numpy as np
from jaxtyping import Bool, Int, Integer, Shaped, UInt
from scipy import sparse

from scident.datasets import _check
from scident.errors import DataError

BLOCK = 2**23
"""Stored values read at once."""

Stored: TypeAlias = h5py.Dataset | h5py.Group
Cells = Bool[np.ndarray, " cells"]
Genes = Bool[np.ndarray, " genes"]


def shape(x: Stored) -> tuple[int, int]:
    """Return cells × genes."""
    rows, columns = x.shape if isinstance(x, h5py.Dataset) else x.attrs["shape"]
    return int(rows), int(columns)


def read(x: Stored, cells: Cells, genes: Genes) -> sparse.csr_matrix:
    """Read the counts of some cells and genes.

    Parameters
    ----------
    x
        Matrix of an open file: cells × genes.
    cells, genes
        Which to keep.

    Returns
    -------
    Counts in file order, uint16 if they fit and uint32 if not; no stored zeros.

    Raises
    ------
    DataError
        A value is no count, or the parts of the matrix do not fit together.
    """
    form = "array" if isinstance(x, h5py.Dataset) else str(x.attrs["encoding-type"])
    if form == "csc_matrix":
        return _by_genes(x, cells, genes)
    if form not in {"array", "csr_matrix"}:
        raise DataError(f"X is stored as {form!r}; known: a dense array, csr_matrix, csc_matrix")
    blocks = _dense_rows(x, cells, genes) if form == "array" else _sparse_rows(x, cells, genes)
    return _joined(list(blocks), int(genes.sum()))


def _dense_rows(x: h5py.Dataset, cells: Cells, genes: Genes) -> Iterator[sparse.csr_matrix]:
    chunk = x.chunks[0] if x.chunks else 1
    height = max(chunk, BLOCK // max(x.shape[1], 1) // chunk * chunk)
    for start in range(0, len(cells), height):
        chosen = cells[start : start + height]
        if chosen.any():
            block = sparse.csr_matrix(x[start : start + height][chosen][:, genes])
            yield sparse.csr_matrix((_whole(block.data), block.indices, block.indptr), shape=block.shape)


def _sparse_rows(x: h5py.Group, cells: Cells, genes: Genes) -> Iterator[sparse.csr_matrix]:
    pointers = _pointers(x, len(cells))
    for start, stop in _spans(pointers):
        chosen = cells[start:stop]
        if chosen.any():
            row = np.repeat(_places(chosen), np.diff(pointers[start : stop + 1]))
            column, values = _entries(x, pointers[[start, stop]], len(genes), "genes")
            yield _block(values, row, _places(genes)[column], (int(chosen.sum()), int(genes.sum())))


def _by_genes(x: h5py.Group, cells: Cells, genes: Genes) -> sparse.csr_matrix:
    lengths, top = np.zeros(int(cells.sum()), dtype=np.int64), 0
    for block in _gene_blocks(x, cells, genes):
        lengths += np.diff(block.indptr)
        top = max(top, int(block.data.max(initial=0)))
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.empty(pointers[-1], dtype=np.int32)
    data = np.empty(pointers[-1], dtype=_smallest(top))
    free = pointers[:-1].copy()
    for block in _gene_blocks(x, cells, genes):
        lengths = np.diff(block.indptr)
        where = np.arange(block.nnz) + np.repeat(free - block.indptr[:-1], lengths)
        indices[where], data[where] = block.indices, block.data
        free += lengths
    return sparse.csr_matrix((data, indices, pointers), shape=(len(lengths), int(genes.sum())))


def _gene_blocks(x: h5py.Group, cells: Cells, genes: Genes) -> Iterator[sparse.csr_matrix]:
    pointers, place = _pointers(x, len(genes)), _places(cells)
    for start, stop in _spans(pointers):
        if genes[start:stop].any():
            column = np.repeat(_places(genes)[start:stop], np.diff(pointers[start : stop + 1]))
            row, values = _entries(x, pointers[[start, stop]], len(cells), "cells")
            yield _block(values, place[row], column, (int(cells.sum()), int(genes.sum())))


def _block(
    values: Shaped[np.ndarray, " n"], row: Int[np.ndarray, " n"], column: Int[np.ndarray, " n"], size: tuple[int, int]
) -> sparse.csr_matrix:
    """Make CSR of entries, those of place -1 left out."""
    kept = (row >= 0) & (column >= 0) & (values != 0)
    return sparse.csr_matrix((_whole(values[kept]), (row[kept], column[kept])), shape=size)


def _places(chosen: Bool[np.ndarray, " any"]) -> Int[np.ndarray, " any"]:
    """Return the number of each chosen one among the chosen, -1 for the others."""
    return np.where(chosen, np.cumsum(chosen) - 1, -1).astype(np.int32)


def _pointers(x: h5py.Group, size: int) -> Int[np.ndarray, " pointers"]:
    pointers = np.asarray(x["indptr"][:], dtype=np.int64)
    stored = (len(x["data"]), len(x["indices"]))
    whole = len(pointers) == size + 1 and pointers[0] == 0 and (np.diff(pointers) >= 0).all()
    if not whole or set(stored) != {int(pointers[-1])}:
        raise DataError(
            f"the sparse X is damaged: {len(pointers):,} pointers up to {pointers[-1]:,} for {size:,} rows or columns, "
            f"{stored[0]:,} values and {stored[1]:,} indices; remove the file and get it again"
        )
    return pointers


def _spans(pointers: Int[np.ndarray, " pointers"]) -> Iterator[tuple[int, int]]:
    """Cut rows (or columns) into runs of at most `BLOCK` values, or one row."""
    start, last = 0, len(pointers) - 1
    while start < last:
        stop = int(np.searchsorted(pointers, pointers[start] + BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), last)
        yield start, stop
        start = stop


def _entries(
    x: h5py.Group, ends: Int[np.ndarray, "2"], size: int, what: str
) -> tuple[Integer[np.ndarray, " n"], Shaped[np.ndarray, " n"]]:
    """Read indices, each below `size`, and values."""
    indices = x["indices"][ends[0] : ends[1]]
    if indices.size and not 0 <= indices.min() <= indices.max() < size:
        raise DataError(f"an index of X is negative or beyond its {size:,} {what}; remove the file and get it again")
    return indices, x["data"][ends[0] : ends[1]]


def _whole(values: Shaped[np.ndarray, " n"]) -> UInt[np.ndarray, " n"]:
    wrong = None if values.dtype.kind == "u" else _check.not_counts(values[None])
    if wrong is not None:
        raise DataError(f"X {wrong}; this is not the published file of raw counts")
    top = int(values.max(initial=0))
    if top > np.iinfo(np.uint32).max:
        raise DataError(f"X holds the count {top:,}, more than a cell can have; get the published file")
    return values.astype(_smallest(top))


def _smallest(top: int) -> type[np.unsignedinteger]:
    return np.uint16 if top <= np.iinfo(np.uint16).max else np.uint32


def _joined(blocks: list[sparse.csr_matrix], n_genes: int) -> sparse.csr_matrix:
    """Put blocks of rows below each other, letting go of each once it is copied."""
    lengths = [np.diff(block.indptr) for block in blocks]
    pointers = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, dtype=np.int64), *lengths]))])
    data = np.empty(pointers[-1], dtype=np.result_type(np.uint16, *(block.dtype for block in blocks)))
    indices = np.empty(pointers[-1], dtype=np.int32)
    blocks.reverse()
    free = 0
    while blocks:
        block = blocks.pop()
        data[free : free + block.nnz], indices[free : free + block.nnz] = block.data, block.indices
        free += block.nnz
    return sparse.csr_matrix((data, indices, pointers), shape=(len(pointers) - 1, n_genes))
