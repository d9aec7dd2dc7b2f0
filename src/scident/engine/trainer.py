"""One loop that trains all members of a job together; each stops on its own and then costs nothing."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from scident.engine.batches import Batch, Cells, chunks
from scident.engine.compiling import compiled
from scident.engine.optimiser import Adam
from scident.engine.stack import Initial, MemberState, Stack
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


class Network(ABC):
    """What the trainer needs of a model; every tensor has a leading member axis."""

    @abstractmethod
    def parameters(self) -> dict[str, Initial]:
        """Declare what is learned, in the order it is drawn."""

    @abstractmethod
    def buffers(self) -> dict[str, Initial]:
        """Declare what is kept but not learned by gradient."""

    def noise(self, streams: Streams, cells: int, training: bool) -> Noise:
        """Draw all random numbers of one batch, so that `loss` and `validate` draw none and can be compiled."""
        return {}

    @abstractmethod
    def loss(self, stack: Stack, batch: Batch, noise: Noise, epoch: Tensor) -> Tensor:
        """Return what each member minimises on its batch, [members]."""

    @abstractmethod
    def validate(self, stack: Stack, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Return sums over the batch's cells, [members] each; ``nelbo`` is monitored (nats)."""

    def describe(self, stack: Stack) -> dict[str, Tensor]:
        """Return further quantities for the history, [members] each."""
        return {}

    def turn(self, stack: Stack, streams: Streams, epoch: int) -> bool:
        """Change all members before an epoch, in place; True: Adam and the wait for a better score start anew."""
        return False


@dataclass(frozen=True)
class Schedule:
    """How members are trained; equal for all members of one call but for what stands in ``stack.h``."""

    batch_size: int = 128
    epsilon: float = 0.01
    """Adam's eps."""
    weight_decay: float = 1e-6
    """L2 added to the gradient."""
    compiled: bool = False
    """Compile the loss, if a compiler works."""
    products: torch.dtype | None = None
    """Precision of matrix products; None: that of everything else."""


@dataclass
class Progress:
    """Where one member stands; everything a resumed run needs."""

    state: MemberState
    seed: np.random.SeedSequence
    rows: tuple[int, int]
    """First row of the member's training and validation cells."""
    learning_rate: float
    epochs: int
    patience: int
    """Validation epochs without a new best after which the member stops."""
    decay: float = 0.0
    """Share of the epochs, at the end, over which the learning rate falls linearly to 0."""
    epoch: int = 0
    best: float = np.inf
    waited: int = 0
    moments: dict[str, Tensor] = field(default_factory=dict)
    """As `Adam.moments` returns them."""
    history: list[tuple[int, str, float]] = field(default_factory=list)
    failure: str = ""
    done: bool = False

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        falling = self.decay * self.epochs
        return self.learning_rate * (min(1.0, (self.epochs - epoch) / falling) if falling else 1.0)


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
        self.stack = Stack(states, data.counts.device, data.counts.dtype, schedule.products)
        # graphs are made for one number of cells: shorter batches go without
        self.loss, self.validation = network.loss, network.validate
        if schedule.products == torch.bfloat16 and not fast_bfloat16(self.stack.device):
            log.warning("bfloat16 products are emulated on this processor, and many times slower than float32")
        if schedule.compiled:
            self.loss, self.validation = compiled(network.loss), compiled(network.validate)
        self.streams = Streams([members[i].seed for i in self.running], self.stack.device, self.stack.dtype)
        (self.at,) = {members[i].epoch for i in self.running}
        self.optimiser = self._optimiser([members[i].moments for i in self.running])

    def _optimiser(self, moments: Sequence[Mapping[str, Tensor]]) -> Adam:
        rates = [self.members[i].rate(self.at) for i in self.running]
        return Adam(self.stack, rates, self.schedule.epsilon, self.schedule.weight_decay, moments)

    def _first_rows(self, which: int) -> Tensor:
        first = [self.members[i].rows[which] for i in self.running]
        return torch.tensor(first, device=self.stack.device)[:, None]

    def epoch(self) -> None:
        """Train and validate all running members once."""
        self.streams.start(TRAIN, self.at)
        if self.network.turn(self.stack, self.streams, self.at):
            self.optimiser = self._optimiser([{} for _ in self.running])
            for i in self.running:
                self.members[i].best, self.members[i].waited = np.inf, 0
        self.optimiser.set_rates([self.members[i].rate(self.at) for i in self.running])
        order = self.streams.permutations(self.n_train) + self._first_rows(0)
        total = torch.zeros(len(self.stack), device=self.stack.device, dtype=self.stack.dtype)
        leaves = list(self.stack.p.values())
        at = torch.tensor(self.at, device=self.stack.device)
        for start, stop in chunks(self.n_train, self.schedule.batch_size, SMALLEST_BATCH):
            batch = self.data.gather(order[:, start:stop])
            noise = self.network.noise(self.streams, len(batch), training=True)
            objective = self.loss if len(batch) == self.schedule.batch_size else self.network.loss
            loss = objective(self.stack, batch, noise, at)
            gradients = torch.autograd.grad(loss.sum(), leaves)
            self.optimiser.step(gradients)
            total += loss.detach()
        self._validate(total)
        self.at += 1

    @torch.no_grad()
    def _validate(self, total: Tensor) -> None:
        self.streams.start(VALIDATE, self.at)
        order = torch.arange(self.n_val, device=self.stack.device) + self._first_rows(1)
        sums: dict[str, Tensor] = {}
        for start, stop in chunks(self.n_val, self.val_cells):
            batch = self.data.gather(order[:, start:stop])
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
        moments = [self.optimiser.moments(k) for k in keep]
        self.running = [self.running[k] for k in keep]
        if keep:
            self.stack.select(keep)
            self.streams.select(keep)
            self.optimiser = self._optimiser(moments)
        return positions

    def write_back(self, which: Sequence[int]) -> None:
        """Copy the state of some running members to where they came from."""
        for k in which:
            member = self.members[self.running[k]]
            member.state, member.moments = self.stack.member(k), self.optimiser.moments(k)


def fast_bfloat16(device: torch.device) -> bool:
    """Say whether a device multiplies matrices of bfloat16 in hardware."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
