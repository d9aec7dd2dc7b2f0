"""Sparse expression too large for memory: CSR matrices whose arrays are mapped from files.

An h5ad file keeps such a matrix uncompressed, each array in one piece, so that the operating system reads the pages
that are looked at, shares them between jobs and drops them when memory runs short. What is cut out of a mapped matrix
lies in files again, temporary ones without a name (in the folder that TMPDIR names). Counts are uint16 where they fit;
indices are int32, the smallest that scipy's routines know, unless there are 2^31 entries.
"""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, TypeAlias, TypeGuard

import h5py
import numpy as np
from jaxtyping import Int, Shaped
from scipy import sparse

LARGE = 2**28
"""Bytes of values and indices above which a matrix is mapped instead of read."""

ROWS, ENTRIES = 2**12, 2**22
"""Most rows and most entries handled at once."""

PAGE = 4096
"""Arrays of a file begin at multiples of this, so that any dtype is aligned."""

CSR: TypeAlias = sparse.csr_matrix


def large(x: object) -> TypeGuard[CSR]:
    """Say whether an expression matrix is sparse and too large to be read into memory."""
    if not isinstance(x, sparse.csr_matrix | sparse.csr_array):
        return False
    return bool(x.nnz * (x.data.itemsize + x.indices.itemsize) > LARGE)


def index_dtype(entries: int) -> type[np.int32 | np.int64]:
    """Return the dtype of indices, one for both of scipy's arrays."""
    return np.int32 if entries < 2**31 else np.int64


def assembled(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, genes: int) -> CSR:
    """Return the matrix of these very arrays; scipy's constructor would copy what is a small part of a file."""
    x = sparse.csr_matrix((len(indptr) - 1, genes), dtype=data.dtype)
    x.data, x.indices, x.indptr = data, indices, indptr
    return x


def filed(blocks: Iterable[CSR], genes: int, dtype: np.dtype, most: int) -> CSR:
    """Return some blocks of rows as one matrix, mapped from temporary files that vanish with it.

    Parameters
    ----------
    blocks
        One after the other in memory.
    genes
        Number of columns.
    dtype
        Of the values.
    most
        No fewer than the number of all values; decides the dtype of the indices.
    """
    index = index_dtype(most)
    lengths = [np.zeros(1, dtype=index)]
    with tempfile.TemporaryFile(prefix="scident") as data, tempfile.TemporaryFile(prefix="scident") as indices:
        for block in blocks:
            _append(data, block.data, dtype)
            _append(indices, block.indices, index)
            lengths.append(np.diff(block.indptr).astype(index))
        indptr = np.cumsum(np.concatenate(lengths), dtype=index)
        return assembled(_mapped(data, dtype, 0, indptr[-1]), _mapped(indices, index, 0, indptr[-1]), indptr, genes)


def _append(file: IO[bytes], values: np.ndarray, dtype: np.dtype | type) -> None:
    file.write(np.ascontiguousarray(values, dtype=dtype).data)


def _mapped(file: IO[bytes] | Path, dtype: np.dtype | type, offset: int, size: int) -> np.ndarray:
    if not isinstance(file, Path):
        file.flush()
    return np.memmap(file, dtype=dtype, mode="r", offset=offset, shape=(size,)) if size else np.empty(0, dtype)


def take(x: CSR, rows: Int[np.ndarray, " chosen"]) -> CSR:
    """Return some rows: consecutive ones without a copy, few in memory, others in temporary files."""
    if len(rows) and (np.diff(rows) == 1).all():
        first, last = x.indptr[rows[0]], x.indptr[rows[-1] + 1]
        indptr = x.indptr[rows[0] : rows[-1] + 2] - first
        return assembled(x.data[first:last], x.indices[first:last], indptr, x.shape[1])
    entries = int(np.diff(x.indptr)[rows].sum(dtype=np.int64))
    if entries * (x.data.itemsize + x.indices.itemsize) <= LARGE:
        return x[rows]
    pieces = (x[rows[start : start + ROWS]] for start in range(0, len(rows), ROWS))
    return filed(pieces, x.shape[1], x.dtype, entries)


def columns(x: CSR, genes: Int[np.ndarray, " chosen"]) -> CSR:
    """Return some columns, in ascending order, in temporary files."""
    pieces = (x[start : start + ROWS][:, genes] for start in range(0, x.shape[0], ROWS))
    return filed(pieces, len(genes), x.dtype, x.nnz)


def stack(blocks: list[CSR]) -> CSR:
    """Return the rows of all blocks in temporary files; one block as it is."""
    if len(blocks) == 1:
        return blocks[0]
    rows = (block[start : start + ROWS] for block in blocks for start in range(0, block.shape[0], ROWS))
    dtype = np.result_type(*(block.dtype for block in blocks))
    return filed(rows, blocks[0].shape[1], dtype, sum(block.nnz for block in blocks))


def in_order(x: CSR) -> CSR:
    """Return a matrix whose genes are sorted within each cell, each there once: itself, or a copy in temporary files.

    Entries of one gene in one cell are added up, whole numbers in 32 bits or more.
    """
    if x.has_canonical_format:
        return x
    dtype = x.dtype if x.dtype.kind == "f" else np.promote_types(x.dtype, np.uint32)
    return filed(_summed(x, dtype), x.shape[1], dtype, x.nnz)


def _summed(x: CSR, dtype: np.dtype) -> Iterator[CSR]:
    for start in range(0, x.shape[0], ROWS):
        block = x[start : start + ROWS].astype(dtype)  # a copy, whatever the dtype
        block.sum_duplicates()
        yield block


def write(path: Path, x: CSR) -> None:
    """Add X to an h5ad file that has none, genes in order, so that `read` can map it."""
    x = in_order(x)
    # alignment holds for what is allocated while the file is open like this
    with h5py.File(path, "a", alignment_threshold=1, alignment_interval=PAGE) as file:
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["encoding-version"] = "csr_matrix", "0.1.0"
        group.attrs["shape"] = np.array(x.shape, dtype=np.int64)
        index = np.dtype(index_dtype(x.nnz))
        for name, dtype in (("data", narrowest(x.data)), ("indices", index), ("indptr", index)):
            values = getattr(x, name)
            target = group.create_dataset(name, (len(values),), dtype)
            for start in range(0, len(values), ENTRIES):
                piece = values[start : start + ENTRIES]
                target[start : start + len(piece)] = piece.astype(dtype, copy=False)


def narrowest(values: Shaped[np.ndarray, " entries"]) -> np.dtype:
    """Return uint16 if all values are whole numbers that it holds, else the dtype they have."""
    most = np.iinfo(np.uint16).max
    fits = all(((piece >= 0) & (piece <= most) & (piece == np.floor(piece))).all() for piece in pieces(values))
    return np.dtype(np.uint16) if fits else values.dtype


def pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    """Go through an array along its first axis, so that what is computed of it never takes much memory."""
    step = max(1, ENTRIES // max(1, values[:1].size))
    starts = [*range(0, len(values), step), len(values)]
    return (values[start:stop] for start, stop in pairwise(starts))


def read(path: Path) -> CSR | None:
    """Map X of an h5ad file; None: it is small, or not stored as `write` does."""
    with h5py.File(path, "r") as file:
        group = file.get("X")
        if not isinstance(group, h5py.Group) or group.attrs.get("encoding-type") != "csr_matrix":
            return None
        data, indices, indptr = (group[name] for name in ("data", "indices", "indptr"))
        whole = all(array.id.get_offset() is not None and array.dtype.isnative for array in (data, indices))
        scipys = indices.dtype == indptr.dtype == index_dtype(len(data))
        if not (whole and scipys and len(data) * (data.dtype.itemsize + indices.dtype.itemsize) > LARGE):
            return None
        values, columns = (_mapped(path, a.dtype, a.id.get_offset(), len(a)) for a in (data, indices))
        return assembled(values, columns, indptr[:], int(group.attrs["shape"][1]))


def stored_large(x: object) -> TypeGuard[h5py.Group]:
    """Say whether a member of an open h5ad file is a CSR matrix too large to be read into memory."""
    if not isinstance(x, h5py.Group) or x.attrs.get("encoding-type") != "csr_matrix":
        return False
    return bool(len(x["data"]) * (x["data"].dtype.itemsize + x["indices"].dtype.itemsize) > LARGE)


def copied(group: h5py.Group) -> CSR:
    """Return a CSR matrix of an open h5ad file, however it is stored there, mapped from temporary files.

    Raises
    ------
    ValueError
        Its arrays do not fit together.
    """
    data, indices, indptr = (group[name] for name in ("data", "indices", "indptr"))
    rows, genes = (int(size) for size in group.attrs["shape"])
    index = index_dtype(len(data))
    pointers = indptr[:].astype(index)
    ends = pointers[[0, -1]].tolist() if len(pointers) == rows + 1 else []
    if len(data) != len(indices) or ends != [0, len(data)] or (np.diff(pointers) < 0).any():
        raise ValueError(f"the sparse X is damaged: {len(data):,} values, {len(indices):,} indices")
    with tempfile.TemporaryFile(prefix="scident") as values, tempfile.TemporaryFile(prefix="scident") as columns:
        for start in range(0, len(data), ENTRIES):
            piece = indices[start : start + ENTRIES]
            if not 0 <= piece.min() <= piece.max() < genes:
                raise ValueError(f"the sparse X is damaged: an index is negative or beyond its {genes:,} genes")
            _append(values, data[start : start + ENTRIES], data.dtype)
            _append(columns, piece, index)
        arrays = _mapped(values, data.dtype, 0, len(data)), _mapped(columns, index, 0, len(data))
        return assembled(*arrays, pointers, genes)
