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
from scident.engine.stack import Initial, MemberState, Stack
from scident.engine.streams import Streams
from scident.log import progress

log = logging.getLogger(__name__)

SMALLEST_BATCH = 3
"""A last batch of fewer cells is dropped: batch normalisation over one or two cells is noise (svae.md §4)."""

TRAIN, VALIDATE = 1, 2
"""Purposes of random streams (see `Streams.start`)."""


class Network(ABC):
    """What the trainer needs of a model; every tensor has a leading member axis."""

    @abstractmethod
    def parameters(self) -> dict[str, Initial]:
        """Declare what is learned, in the order it is drawn."""

    @abstractmethod
    def buffers(self) -> dict[str, Initial]:
        """Declare what is kept but not learned by gradient."""

    @abstractmethod
    def loss(self, stack: Stack, batch: Batch, streams: Streams, epoch: int) -> Tensor:
        """Return what each member minimises on its batch, [members]."""

    @abstractmethod
    def validate(self, stack: Stack, batch: Batch, streams: Streams) -> dict[str, Tensor]:
        """Return sums over the batch's cells, [members] each; ``nelbo`` is monitored (nats)."""

    def describe(self, stack: Stack) -> dict[str, Tensor]:
        """Return further quantities for the history, [members] each."""
        return {}


@dataclass(frozen=True)
class Schedule:
    """How members are trained; equal for all members of one call but for what stands in ``stack.h``."""

    batch_size: int = 128
    epsilon: float = 0.01
    """Adam's eps."""
    weight_decay: float = 1e-6
    """L2 added to the gradient."""


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
    epoch: int = 0
    best: float = np.inf
    waited: int = 0
    moments: dict[str, Tensor] = field(default_factory=dict)
    """Adam's first and second moment, and its step."""
    history: list[tuple[int, str, float]] = field(default_factory=list)
    failure: str = ""
    done: bool = False


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
    loop = _Loop(network, members, data, n_train, n_val, schedule)
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


class _Loop:
    def __init__(
        self, network: Network, members: Sequence[Progress], data: Cells, n_train: int, n_val: int, schedule: Schedule
    ) -> None:
        self.network, self.members, self.data, self.schedule = network, members, data, schedule
        self.n_train, self.n_val = n_train, n_val
        self.running = [i for i, m in enumerate(members) if not m.done]
        self.stack = Stack([members[i].state for i in self.running], data.counts.device, data.counts.dtype)
        self.streams = Streams([members[i].seed for i in self.running], self.stack.device, self.stack.dtype)
        (self.at,) = {members[i].epoch for i in self.running}
        self._build_optimiser([members[i].moments for i in self.running])

    def _build_optimiser(self, moments: Sequence[Mapping[str, Tensor]]) -> None:
        """One parameter group per member, so that each has its learning rate and its own step count."""
        self.rows = [row.detach() for row in self.stack.flat]
        rates = [self.members[i].learning_rate for i in self.running]
        groups = [{"params": [row], "lr": rate} for row, rate in zip(self.rows, rates, strict=True)]
        self.optimiser = torch.optim.Adam(
            groups, eps=self.schedule.epsilon, weight_decay=self.schedule.weight_decay, fused=True
        )
        for row, moment in zip(self.rows, moments, strict=True):
            if moment:
                self.optimiser.state[row] = {name: value.to(row.device).clone() for name, value in moment.items()}
        self.gradient = torch.zeros_like(self.stack.flat)
        for row, gradient in zip(self.rows, self.gradient, strict=True):
            row.grad = gradient

    def _moments(self, k: int) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.optimiser.state[self.rows[k]].items()}

    def _first_rows(self, which: int) -> Tensor:
        first = [self.members[i].rows[which] for i in self.running]
        return torch.tensor(first, device=self.stack.device)[:, None]

    def epoch(self) -> None:
        self.streams.start(TRAIN, self.at)
        order = self.streams.permutations(self.n_train) + self._first_rows(0)
        total = torch.zeros(len(self.stack), device=self.stack.device, dtype=self.stack.dtype)
        leaves = list(self.stack.p.values())
        for start, stop in chunks(self.n_train, self.schedule.batch_size, SMALLEST_BATCH):
            batch = self.data.gather(order[:, start:stop])
            loss = self.network.loss(self.stack, batch, self.streams, self.at)
            gradients = torch.autograd.grad(loss.sum(), leaves)
            torch.cat([g.reshape(len(self.stack), -1) for g in gradients], dim=1, out=self.gradient)
            self.optimiser.step()
            total += loss.detach()
        self._validate(total)
        self.at += 1

    @torch.no_grad()
    def _validate(self, total: Tensor) -> None:
        self.streams.start(VALIDATE, self.at)
        order = torch.arange(self.n_val, device=self.stack.device) + self._first_rows(1)
        sums: dict[str, Tensor] = {}
        for start, stop in chunks(self.n_val, 1024):
            found = self.network.validate(self.stack, self.data.gather(order[:, start:stop]), self.streams)
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
        moments = [self._moments(k) for k in keep]
        self.running = [self.running[k] for k in keep]
        if keep:
            self.stack.select(keep)
            self.streams.select(keep)
            self._build_optimiser(moments)
        return positions

    def write_back(self, which: Sequence[int]) -> None:
        for k in which:
            member = self.members[self.running[k]]
            member.state, member.moments = self.stack.member(k), self._moments(k)
