"""Counts that stay in memory, and minibatches for many members from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

SMALLEST_LIBRARY = 1e-8
"""Stands for the library of a cell without counts, so that one such cell does not make a member's loss NaN."""


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
        self.counts = torch.cat([_dense(block).to(device, dtype) for block in counts])
        self.log_library = self.counts.sum(1).clamp(min=SMALLEST_LIBRARY).log()
        self.labels = _codes(labels, device)
        self.contexts = torch.zeros_like(self.labels) if contexts is None else _codes(contexts, device)
        self.control = torch.zeros_like(self.labels) if control is None else _codes(control, device)

    def gather(self, rows: Tensor) -> Batch:
        """Collect rows [members, cells] into a batch."""
        members, cells = rows.shape
        flat = rows.reshape(-1)
        counts = self.counts.index_select(0, flat).view(members, cells, -1).transpose(1, 2).contiguous()
        return Batch(
            counts=counts,
            log_library=self.log_library.index_select(0, flat).view(members, 1, cells),
            labels=self.labels.index_select(0, flat).view(members, cells),
            contexts=self.contexts.index_select(0, flat).view(members, cells),
        )


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
