"""A control cell for every cell: of the same context and part, drawn anew at each step (fcr.md §6)."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scident.engine.batches import Batch, Cells
from scident.engine.streams import Streams


class Partners:
    """The control cells of some members' training or validation cells, by context.

    Parameters
    ----------
    data
        Cells of all worlds.
    first
        First row of each member's cells.
    n
        Number of each member's cells.
    """

    def __init__(self, data: Cells, first: Sequence[int], n: int) -> None:
        self.data = data
        found = {row: _controls(data, row, n) for row in set(first)}
        most = max(len(rows) for by_context in found.values() for rows in by_context)
        shape = len(first), int(data.contexts.max()) + 1, max(most, 1)
        self.rows = torch.zeros(shape, dtype=torch.int64, device=data.device)
        """Rows of control cells, [members, contexts, most of any]; zeros fill up."""
        self.counts = torch.zeros(shape[:2], dtype=torch.int64, device=data.device)
        """How many there are, [members, contexts]."""
        for k, row in enumerate(first):
            for context, controls in enumerate(found[row]):
                self.rows[k, context, : len(controls)] = controls
                self.counts[k, context] = len(controls)

    def join(self, batch: Batch, streams: Streams) -> Batch:
        """Return a batch with a partner drawn for each cell, uniformly and with replacement."""
        rows, present = self.draw(batch.contexts, streams)
        return replace(batch, partner=self.data.gather(rows).counts, has_partner=present)

    def draw(self, contexts: Tensor, streams: Streams) -> tuple[Tensor, Tensor]:
        """Return rows of control cells of some contexts, and whether there are any, [members, cells] each."""
        count = self.counts.gather(1, contexts)
        drawn = (streams.uniform(contexts.shape[1]) * count).long()
        drawn = torch.minimum(drawn, (count - 1).clamp(min=0))  # a number next to 1 may be rounded up
        members, _, most = self.rows.shape
        flat = self.rows.reshape(members, -1).gather(1, contexts * most + drawn)
        return flat, count > 0


def _controls(data: Cells, first: int, n: int) -> list[Tensor]:
    """Return the rows of control cells of each context among n cells."""
    rows = torch.arange(first, first + n, device=data.device)
    rows = rows[data.control[first : first + n] > 0]
    return [rows[data.contexts[rows] == context] for context in range(int(data.contexts.max()) + 1)]
