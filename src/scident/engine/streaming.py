"""Minibatches from CSR matrices, mapped or in memory: only the cells of a batch are ever dense."""

import math
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import no_type_check

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scident import mapped
from scident.engine.native import loop

TILE = 256
"""Genes made dense together: those of a batch stay in a processor's cache while the cells are written into them."""


class Streamed:
    """CSR blocks of cells, made dense in the engine's layout batch by batch.

    Parameters
    ----------
    blocks
        [cells, genes] each; never changed, and copied only where genes are unsorted or repeated within a cell.
    device, dtype
        Of what `gather` returns.
    """

    def __init__(self, blocks: Sequence[sparse.csr_matrix], device: torch.device, dtype: torch.dtype) -> None:
        self.blocks = [mapped.in_order(block) for block in blocks]
        self.device, self.dtype = device, dtype
        self.genes = blocks[0].shape[1]
        self.offsets = np.cumsum([0, *(block.shape[0] for block in blocks)])
        self.buffers = Buffers()
        self.fill = compiled_fill()

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the counts of rows [members, cells], [members, genes, cells], and their sums, [members, 1, cells]."""
        members, cells = rows.shape
        counts = self.buffers.take((members, self.genes, cells), self.dtype)
        library = torch.empty(members, 1, cells, dtype=self.dtype)
        wanted = rows.cpu().numpy()
        for out, total, mine in zip(counts.numpy(), library.numpy()[:, 0], wanted, strict=True):
            first, last = np.searchsorted(self.offsets, (mine.min(), mine.max()), side="right") - 1
            if first == last:
                self._fill(int(first), mine, np.arange(cells), out, total, clear=True)
                continue
            out[:] = 0
            own = np.searchsorted(self.offsets, mine, side="right") - 1
            for block in np.unique(own):
                columns = np.flatnonzero(own == block)
                self._fill(int(block), mine[columns], columns, out, total, clear=False)
        return counts.to(self.device), library.to(self.device)

    def _fill(
        self, block: int, rows: np.ndarray, columns: np.ndarray, out: np.ndarray, total: np.ndarray, clear: bool
    ) -> None:
        x = self.blocks[block]
        zero = np.int64(0) if x.dtype.kind in "ui" else np.float64(0)
        self.fill(x.data, x.indices, x.indptr, rows - self.offsets[block], columns, out, total, zero, clear)


class Buffers:
    """Memory for batches: a buffer is used again once no tensor on it is left."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor that shares memory with no other that is alive; its values mean nothing."""
        size = math.prod(shape) * dtype.itemsize
        free = [i for i in range(len(self.kept)) if sys.getrefcount(self.kept[i]) <= UNUSED]
        fits = [i for i in free if self.kept[i].size >= size]
        if not fits:
            self.kept = [one for i, one in enumerate(self.kept) if i not in free]
            self.kept.append(np.empty(size, dtype=np.uint8))
        buffer = self.kept[fits[0] if fits else -1]
        return torch.from_numpy(buffer[:size]).view(dtype).view(shape)


UNUSED = 2
"""References to a buffer that only its list holds: that of the list and that of the question."""


@cache
def compiled_fill() -> Callable[..., None]:
    """Compile `fill` on first use."""
    return loop(fill)


@no_type_check  # the compiler wants a bare function
def fill(data, indices, indptr, rows, columns, out, library, zero, clear):
    """Write rows of a CSR matrix into columns of a dense one, and their sums.

    Parameters
    ----------
    data, indices, indptr
        The matrix; genes of a cell are sorted.
    rows, columns
        Cell j of them goes from row ``rows[j]`` to column ``columns[j]``.
    out
        [genes, cells], changed in place.
    library
        Sums, [cells], changed in place.
    zero
        0 of the type to add in: integers have no rounding.
    clear
        Set all of `out` to 0 first; else those columns must be 0.
    """
    # unsigned numbers spare the compiled code a look at each index for being negative
    cells, genes = np.uint64(len(rows)), out.shape[0]
    at, sums = np.empty(len(rows), np.uint64), np.full(len(rows), zero)
    for j in range(cells):
        at[j] = indptr[rows[j]]
    for first in range(0, genes, TILE):
        last = np.uint64(min(first + TILE, genes))
        if clear:
            out[first:last] = 0
        for j in range(cells):
            k, end, column, total = at[j], np.uint64(indptr[rows[j] + 1]), np.uint64(columns[j]), sums[j]
            while k < end:
                gene = np.uint64(indices[k])
                if gene >= last:
                    break
                out[gene, column] = data[k]
                total += data[k]
                k += np.uint64(1)
            at[j], sums[j] = k, total
    for j in range(cells):
        library[columns[j]] = sums[j]
