"""One loop that trains all members of a job together; each stops on its own and then costs nothing."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import anndata as ad
import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scident.engine.batches import Batch, Cells, chunks
from scident.engine.compiling import compiled
from scident.engine.partners import Partners
from scident.engine.progress import Progress, Schedule
from scident.engine.stack import Initial, Stack
from scident.engine.steps import Steps
from scident.engine.streams import Streams
from scident.log import progress

log = logging.getLogger(__name__)

SMALLEST_BATCH = 3
"""A last batch of fewer cells is dropped: batch normalisation over one or two cells is noise (svae.md §4)."""

VALIDATED = 512
"""Most cells validated at once."""

TRAIN, VALIDATE = 1, 2
"""Purposes of random streams (see `Streams.start`)."""


Noise = dict[str, Tensor]
"""Random numbers of one batch; every tensor has a leading member axis."""

Batches = Callable[[], Iterator[Batch]]
"""Goes through cells, batch by batch."""

Matrix: TypeAlias = np.ndarray | sparse.csr_matrix
"""Cells in rows, dense or CSR."""


class Network(ABC):
    """What the trainer needs of a model; every tensor has a leading member axis."""

    wants_partner: bool = False
    """Whether each cell of a batch comes with a control cell of its context, drawn anew (`Batch.partner`)."""

    @abstractmethod
    def parameters(self) -> dict[str, Initial]:
        """Declare what is learned, in the order it is drawn; "adversary." begins the names of an adversary's."""

    @abstractmethod
    def buffers(self) -> dict[str, Initial]:
        """Declare what is kept but not learned by gradient."""

    def prepare(self, train: ad.AnnData) -> dict[str, np.ndarray]:
        """Return the first values of those buffers that are computed from training cells, without a member axis."""
        return {}

    def resident(self, cells: ad.AnnData, prepared: Mapping[str, np.ndarray]) -> Matrix:
        """Return what of some cells a batch holds as its counts, [cells, features]; `prepared` as from `prepare`."""
        expression: Matrix = cells.X
        return expression

    def noise(self, streams: Streams, cells: int, training: bool) -> Noise:
        """Draw all random numbers of one batch, so that `loss` and `validate` draw none and can be compiled."""
        return {}

    @abstractmethod
    def loss(self, stack: Stack, batch: Batch, noise: Noise, epoch: Tensor) -> Tensor:
        """Return what each member minimises on its batch, [members]; an adversary's parameters are constants here."""

    def adversary(self, stack: Stack, batch: Batch, noise: Noise, epoch: Tensor) -> Tensor:
        """Return what each member's adversary minimises, [members]; all parameters but its own are constants here.

        Only asked of networks that declare such parameters, on the batch of the model's step that follows, with noise
        of its own (as `noise` draws it in training).
        """
        raise NotImplementedError

    @abstractmethod
    def validate(self, stack: Stack, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Return sums over the batch's cells, [members] each; ``nelbo`` is monitored (nats)."""

    def describe(self, stack: Stack) -> dict[str, Tensor]:
        """Return further quantities for the history, [members] each."""
        return {}

    def turn(self, stack: Stack, streams: Streams, epoch: int, cells: Batches) -> bool:
        """Change all members before an epoch, in place; True: Adam and the wait for a better score start anew.

        `cells()` goes through the training cells of all members in order, without partners.
        """
        return False


Save = Callable[[Sequence[int], Sequence[Progress]], None]


def train(
    network: Network,
    members: Sequence[Progress],
    data: Cells,
    n_train: int,
    n_val: int,
    schedule: Schedule,
    save: Save | None = None,
    save_every_s: float = 60.0,
) -> None:
    """Train members in place until each has stopped; all have `n_train` and `n_val` cells and stand at one epoch.

    Parameters
    ----------
    members
        Changed in place; a member whose loss or validation score is not finite stops with ``failure`` set.
    data
        Training and validation cells of all worlds; ``Progress.rows`` says where a member's begin.
    save
        Called with (positions, members) of members whose state was just written back: every `save_every_s` seconds,
        and whenever a member stops. Running ones are saved with it, so that a resumed run has the same members
        together at every epoch, and thus the same rounding.
    """
    loop = Loop(network, members, data, n_train, n_val, schedule)
    last_save = time.monotonic()
    with progress("epoch", max(m.epochs for m in members)) as tick:
        while loop.running:
            loop.epoch()
            stopped = loop.retire()
            tick(loop.at, f"{len(loop.running)} members running")
            if save is not None and (stopped or time.monotonic() - last_save > save_every_s):
                loop.write_back(range(len(loop.running)))
                save([*stopped, *loop.running], [members[i] for i in (*stopped, *loop.running)])
                last_save = time.monotonic()


class Loop:
    """The members that still run, and what an epoch of them needs; arguments as those of `train`."""

    def __init__(
        self, network: Network, members: Sequence[Progress], data: Cells, n_train: int, n_val: int, schedule: Schedule
    ) -> None:
        self.network, self.members, self.data, self.schedule = network, members, data, schedule
        self.n_train, self.n_val = n_train, n_val
        self.val_cells = -(-n_val // -(-n_val // VALIDATED))  # batches of equal size, but for the last
        self.running = [i for i, m in enumerate(members) if not m.done]
        states = [members[i].state for i in self.running]
        self.stack = Stack(states, data.device, data.dtype, schedule.products)
        # graphs are made for one number of cells: shorter batches go without
        self.loss, self.validation = network.loss, network.validate
        if schedule.products == torch.bfloat16 and not fast_bfloat16(self.stack.device):
            log.warning("bfloat16 products are emulated on this processor, and many times slower than float32")
        if schedule.compiled:
            self.loss, self.validation = compiled(network.loss), compiled(network.validate)
        self.streams = Streams([members[i].seed for i in self.running], self.stack.device, self.stack.dtype)
        (self.at,) = {members[i].epoch for i in self.running}
        self._gather_up([members[i].moments for i in self.running])

    def _gather_up(self, moments: Sequence[Mapping[str, Tensor]]) -> None:
        """Make what depends on who is running."""
        self.steps = self._steps(moments)
        if self.network.wants_partner:
            sizes = enumerate((self.n_train, self.n_val))
            self.partners = [Partners(self.data, self._first(which), n) for which, n in sizes]

    def _steps(self, moments: Sequence[Mapping[str, Tensor]]) -> Steps:
        return Steps(self.stack, self.schedule, [self.members[i].rate(self.at) for i in self.running], moments)

    def _first(self, which: int) -> list[int]:
        """Return the first row of each running member's training (0) or validation (1) cells."""
        return [self.members[i].rows[which] for i in self.running]

    def _batch(self, rows: Tensor, which: int) -> Batch:
        batch = self.data.gather(rows)
        return self.partners[which].join(batch, self.streams) if self.network.wants_partner else batch

    def _rows(self, which: int, order: Tensor) -> Tensor:
        """Return row numbers [members, cells] of cells numbered from 0 within each member's."""
        return order + torch.tensor(self._first(which), device=self.stack.device)[:, None]

    def training_cells(self) -> Iterator[Batch]:
        """Go through the training cells of all running members, in order."""
        order = self._rows(0, torch.arange(self.n_train, device=self.stack.device))
        return (self.data.gather(order[:, start:stop]) for start, stop in chunks(self.n_train, VALIDATED))

    def epoch(self) -> None:
        """Train and validate all running members once."""
        self.streams.start(TRAIN, self.at)
        if self.network.turn(self.stack, self.streams, self.at, self.training_cells):
            self.steps = self._steps([{} for _ in self.running])
            for i in self.running:
                self.members[i].best, self.members[i].waited = np.inf, 0
        self.steps.set_rates([self.members[i].rate(self.at) for i in self.running])
        order = self._rows(0, self.streams.permutations(self.n_train))
        total = torch.zeros(len(self.stack), device=self.stack.device, dtype=self.stack.dtype)
        at = torch.tensor(self.at, device=self.stack.device)
        for start, stop in chunks(self.n_train, self.schedule.batch_size, SMALLEST_BATCH):
            batch = self._batch(order[:, start:stop], 0)
            objective = self.loss if len(batch) == self.schedule.batch_size else self.network.loss
            total += self._step(batch, objective, at)
        self._validate(total)
        self.at += 1

    def _step(self, batch: Batch, objective: Callable[..., Tensor], at: Tensor) -> Tensor:
        def noise() -> Noise:
            return self.network.noise(self.streams, len(batch), training=True)

        return self.steps.step(
            lambda: objective(self.stack, batch, noise(), at),
            lambda: self.network.adversary(self.stack, batch, noise(), at),
        )

    @torch.no_grad()
    def _validate(self, total: Tensor) -> None:
        self.streams.start(VALIDATE, self.at)
        order = self._rows(1, torch.arange(self.n_val, device=self.stack.device))
        sums: dict[str, Tensor] = {}
        for start, stop in chunks(self.n_val, self.val_cells):
            batch = self._batch(order[:, start:stop], 1)
            noise = self.network.noise(self.streams, len(batch), training=False)
            validate = self.validation if len(batch) == self.val_cells else self.network.validate
            found = validate(self.stack, batch, noise)
            sums = {name: sums.get(name, torch.zeros_like(value)) + value for name, value in found.items()}
        quantities = {f"val_{name}": value / self.n_val for name, value in sums.items()}
        quantities |= self.network.describe(self.stack)
        for k, i in enumerate(self.running):
            member = self.members[i]
            member.history += [(self.at, name, float(value[k])) for name, value in quantities.items()]
            member.epoch = self.at + 1
            score = float(quantities["val_nelbo"][k])
            if not (np.isfinite(score) and bool(torch.isfinite(total[k]))):
                member.failure = "nonfinite_loss"
            member.waited = 0 if score < member.best else member.waited + 1
            member.best = min(member.best, score)

    def retire(self) -> list[int]:
        """Write back and drop the members that are through; return their positions."""
        through = [
            k
            for k, i in enumerate(self.running)
            if self.members[i].failure
            or self.members[i].epoch >= self.members[i].epochs
            or self.members[i].waited >= self.members[i].patience
        ]
        if not through:
            return []
        self.write_back(through)
        positions = [self.running[k] for k in through]
        for i in positions:
            self.members[i].done, self.members[i].moments = True, {}
            log.info(
                "member %d stopped at epoch %d%s", i, self.members[i].epoch, self.members[i].failure and " (failed)"
            )
        keep = [k for k in range(len(self.running)) if k not in through]
        moments = [self.steps.moments(k) for k in keep]
        self.running = [self.running[k] for k in keep]
        if keep:
            self.stack.select(keep)
            self.streams.select(keep)
            self._gather_up(moments)
        return positions

    def write_back(self, which: Sequence[int]) -> None:
        """Copy the state of some running members to where they came from."""
        for k in which:
            member = self.members[self.running[k]]
            member.state, member.moments = self.stack.member(k), self.steps.moments(k)


def fast_bfloat16(device: torch.device) -> bool:
    """Say whether a device multiplies matrices of bfloat16 in hardware."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
