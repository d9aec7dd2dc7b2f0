"""Cells too many for memory: how fast a batch is made from a sparse matrix, and what that is of a training step."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from scipy import sparse

from bench.made_screen import Params as Size
from bench.made_screen import load
from bench.problem import BATCH, DECODER, ENCODER, HYPER, LATENTS, WIDTH, Products
from bench.table import Row
from bench.timing import ratio
from scident.engine.batches import Cells
from scident.engine.stack import initial_state
from scident.engine.streaming import Streamed
from scident.engine.trainer import Loop, Progress, Schedule
from scident.models.svae_plus import Params, SVAEPlusNetwork

CELLS, VAL, GENES = 3_200, 384, 8_000


@dataclass
class Timed:
    """A store of cells that adds up the seconds spent in it."""

    store: Streamed
    seconds: float = field(default=0.0)

    def gather(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Do what the store does."""
        start = time.perf_counter()
        found = self.store.gather(rows)
        self.seconds += time.perf_counter() - start
        return found


def sliced(x: sparse.csr_matrix, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the store does as scipy has it: rows in order, made dense, single precision, summed, transposed."""
    found = torch.from_numpy(plain(x, rows)).float()
    return found.T.contiguous()[None], found.sum(1)


def plain(x: sparse.csr_matrix, rows: torch.Tensor) -> np.ndarray:
    """Return rows in order, dense, [cells, genes]."""
    found: np.ndarray = x[np.sort(rows[0].numpy())].toarray()
    return found


def each(make: Callable[[torch.Tensor], object], batches: list[torch.Tensor]) -> None:
    """Make every batch; as in training, one is there until the next has been made."""
    kept = None
    for rows in batches:
        kept = make(rows)
    del kept


def products(genes: int, train: int, val: int) -> None:
    """Do the floating-point work of an epoch of one member, as `bench.problem.unit` does at 100 genes."""
    training, validating = _products(genes)
    training(round(train / BATCH))
    validating(round(val / BATCH))


@cache
def _products(genes: int) -> tuple[Products, Products]:
    """Return those of training and of validating; their operands are made once, for they are large."""
    shapes = [(WIDTH, genes), *ENCODER[1:], *DECODER[:-1], (genes, WIDTH)]
    return Products(shapes, BATCH, trained=True), Products(shapes, BATCH, trained=False)


def rows() -> list[Row]:
    """Measure on one thread, cells in memory."""
    screen = load(Size(cells=CELLS, genes=GENES), None)
    x = sparse.csr_matrix(screen.X)
    store = Streamed([x], torch.device("cpu"), torch.float32)
    order = torch.randperm(CELLS, generator=torch.Generator().manual_seed(0))[: CELLS // BATCH * BATCH]
    batches = list(order.view(-1, 1, BATCH))
    single = x.astype(np.float32)  # as the reference keeps it
    gain, seconds = ratio(lambda: each(store.gather, batches), lambda: each(lambda r: sliced(single, r), batches))
    dense, _ = ratio(lambda: each(store.gather, batches), lambda: each(lambda r: plain(single, r), batches))
    note = f"{1e3 * seconds / len(batches):.2f} ms a batch; of slicing without sums and transposition: {dense:.1f}"
    what = f"batches of {BATCH} sparse cells × {GENES:,} genes"
    found = [Row(what, "sorted scipy slicing to the same tensor", f"{gain:.1f}", "≥ 6", "10", gain >= 6, note)]
    loop, timed = _loop(x, screen.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64))
    speed, seconds = ratio(loop.epoch, lambda: products(GENES, CELLS - VAL, VAL), repeats=3)
    timed.seconds, start = 0.0, time.perf_counter()
    loop.epoch()
    share = timed.seconds / (time.perf_counter() - start)
    what, against = f"one member, compiled, streamed, {GENES:,} genes", "its products' speed"
    found.append(Row(what, against, f"{speed:.0%}", "≥ 60%", "75%", speed >= 0.6, f"{seconds:.2f} s an epoch"))
    found.append(Row("making batches", "that training", f"{share:.0%}", "≤ 10%", "", share <= 0.1))
    return found


def _loop(x: sparse.csr_matrix, labels: np.ndarray) -> tuple[Loop, Timed]:
    blocks = [np.zeros((len(labels), 1), dtype=np.float32)]
    cells = Cells(blocks, [labels], torch.device("cpu"), torch.float32)
    timed = Timed(Streamed([x], cells.device, cells.dtype))
    cells.store = timed  # type: ignore[assignment]
    network = SVAEPlusNetwork(Params(), GENES, LATENTS, int(labels.max()) + 1)
    seed = np.random.SeedSequence(0)
    state = initial_state(network.parameters(), network.buffers(), HYPER, seed, torch.float32)
    started = [Progress(state, seed, (0, CELLS - VAL), 1e-3, 10**6, 10**6)]
    return Loop(network, started, cells, CELLS - VAL, VAL, Schedule(BATCH, compiled=True)), timed
