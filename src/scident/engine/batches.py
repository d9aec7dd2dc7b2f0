"""Cells, and minibatches of them for many members: dense in memory, or from CSR matrices where that is too much."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scident.engine.streaming import Streamed

SMALLEST_LIBRARY = 1e-8
"""Stands for the library of a cell without counts, so that one such cell does not make a member's loss NaN."""

RESIDENT = 2**29
"""Most bytes of sparse cells that are kept dense; larger ones stay sparse. Batches are the same, to the bit."""


@dataclass(frozen=True)
class Batch:
    """Cells of one step: each member has its own, activations are feature-major."""

    counts: Tensor
    """UMI counts, [members, genes, cells]."""
    log_library: Tensor
    """Natural log of UMIs per cell, [members, 1, cells]."""
    labels: Tensor
    """Perturbation codes 0..K-1, [members, cells]."""
    contexts: Tensor
    """Context codes, [members, cells]."""
    partner: Tensor | None = None
    """Counts of a control cell of the same context and part, [members, genes, cells]; only where a network wants it."""
    has_partner: Tensor | None = None
    """Whether there is such a cell, bool [members, cells]; where not, the partner's counts mean nothing."""

    def __len__(self) -> int:
        return self.counts.shape[2]


class Cells:
    """All cells of some worlds, one block of rows per world.

    Parameters
    ----------
    counts
        Per world, [cells, genes], dense or CSR.
    labels
        Per world, perturbation codes [cells].
    contexts, control
        Per world, context codes and whether a cell is a control, [cells]; None: one context, no control.
    """

    def __init__(
        self,
        counts: Sequence[np.ndarray | sparse.csr_matrix],
        labels: Sequence[np.ndarray],
        device: torch.device,
        dtype: torch.dtype,
        contexts: Sequence[np.ndarray] | None = None,
        control: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.offsets = np.cumsum([0, *(block.shape[0] for block in counts)])
        self.device, self.dtype = device, dtype
        sparse_blocks = [block for block in counts if not isinstance(block, np.ndarray)]
        bytes_dense = sum(math.prod(block.shape) for block in sparse_blocks) * dtype.itemsize
        streamed = len(sparse_blocks) == len(counts) and bytes_dense > RESIDENT
        self.store = Streamed(sparse_blocks, device, dtype) if streamed else Resident(counts, device, dtype)
        self.labels = _codes(labels, device)
        self.contexts = torch.zeros_like(self.labels) if contexts is None else _codes(contexts, device)
        self.control = torch.zeros_like(self.labels) if control is None else _codes(control, device)

    def gather(self, rows: Tensor) -> Batch:
        """Collect rows [members, cells] into a batch."""
        counts, library = self.store.gather(rows)
        flat = rows.reshape(-1)
        return Batch(
            counts=counts,
            log_library=library.clamp(min=SMALLEST_LIBRARY).log(),
            labels=self.labels.index_select(0, flat).view(rows.shape),
            contexts=self.contexts.index_select(0, flat).view(rows.shape),
        )


class Resident:
    """Cells kept dense on the device; arguments as those of `Cells`."""

    def __init__(
        self, counts: Sequence[np.ndarray | sparse.csr_matrix], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.counts = torch.cat([_dense(block).to(device, dtype) for block in counts])
        self.library = self.counts.sum(1)

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the counts of rows [members, cells], [members, genes, cells], and their sums, [members, 1, cells]."""
        members, cells = rows.shape
        flat = rows.reshape(-1)
        counts = self.counts.index_select(0, flat).view(members, cells, -1).transpose(1, 2).contiguous()
        return counts, self.library.index_select(0, flat).view(members, 1, cells)


def chunks(total: int, size: int, smallest: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of consecutive chunks; a last one of fewer than `smallest` is dropped."""
    for start in range(0, total, size):
        stop = min(start + size, total)
        if stop - start >= smallest:
            yield start, stop


def _codes(blocks: Sequence[np.ndarray], device: torch.device) -> Tensor:
    return torch.cat([torch.as_tensor(np.asarray(block), dtype=torch.int64) for block in blocks]).to(device)


def _dense(block: np.ndarray | sparse.csr_matrix) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(block if isinstance(block, np.ndarray) else block.toarray()))
