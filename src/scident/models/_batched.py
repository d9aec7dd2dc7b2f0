"""Models on the members engine: many members of one architecture, trained as one."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal

import anndata as ad
import numpy as np
import torch
from pydantic import Field

from scident.engine.batches import Cells
from scident.engine.checkpoint import Store
from scident.engine.progress import Progress, Schedule
from scident.engine.stack import MemberState, Stack, initial_state
from scident.engine.trainer import Matrix, Network, train
from scident.errors import ScidentError, reason_of
from scident.models import _restarts
from scident.models._design import Design, context_codes, design_of, recalled, remembered
from scident.models.base import Fitted, Member, Model
from scident.params import PluginParams
from scident.types import Latents

log = logging.getLogger(__name__)


class BatchedParams(PluginParams):
    """How a model on the members engine is trained (svae.md §4; defaults are the released code's)."""

    epochs: int = Field(300, ge=0, description="Most passes over the training cells.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's step size.")
    decay: float = Field(
        0, ge=0, le=1, description="Share of the epochs, at the end, over which the step size falls to 0."
    )
    schedule: Literal["linear", "cosine"] = Field("linear", description="How it falls.")
    batch_size: int = Field(128, ge=3, description="Cells per step.")
    patience: int = Field(45, ge=1, description="Epochs without a better validation nELBO after which a member stops.")
    epsilon: float = Field(0.01, gt=0, description="Adam's eps; large, so small gradients are damped.")
    weight_decay: float = Field(1e-6, ge=0, description="L2 added to the gradient.")
    clip: float | None = Field(None, gt=0, description="Largest norm of a member's gradient; null: any.")
    starts: int = Field(
        1, ge=1, description="Times a member is trained, from other starts; the best last validation nELBO stays."
    )
    compile: Literal[False, "auto"] = Field(
        False, description="auto: compile the loss where a C++ compiler works; half a minute, then steps are faster."
    )
    products: Literal["float32", "bfloat16"] = Field(
        "float32", description="Precision of training's matrix products; all else is single precision."
    )


class BatchedModel(Model):
    """A model whose members share one stack of parameters.

    A subclass says what its network is and which numbers vary along the member axis; the rest is inherited.
    """

    along_members: ClassVar[frozenset[str]] = frozenset({"epochs", "learning_rate", "decay", "patience"})
    """Parameters that may differ between members of one stack; members that differ in others train in turn."""
    knows_contexts: ClassVar[bool] = False
    """Whether contexts and the control of the training cells are told apart, and kept in the state."""
    dtype: ClassVar[torch.dtype] = torch.float32

    @classmethod
    @abstractmethod
    def network(cls, params: Any, design: Design) -> Network:
        """Return the architecture; it may use only parameters that do not vary along the member axis."""

    @classmethod
    def block_names(cls, params: Any, n_latents: int) -> tuple[str, ...] | None:
        """Return the block of each latent, in the order x, tx, t; None: the model has no blocks."""
        return None

    @classmethod
    def schedule(cls, params: Any) -> Schedule:
        """Return how all members of a stack are trained."""
        return Schedule(
            params.batch_size,
            params.epsilon,
            params.weight_decay,
            compiled=params.compile == "auto",
            products=torch.bfloat16 if params.products == "bfloat16" else None,
            clip=params.clip,
        )

    @classmethod
    def hyper(cls, params: Any, train: ad.AnnData) -> dict[str, float]:
        """Return the numbers that vary along the member axis (``stack.h``)."""
        return {}

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Fit alone: a stack of one."""
        seed = rng.bit_generator.seed_seq
        member = Member("alone", train, val, self.params, self.n_latents, seed)  # type: ignore[arg-type]
        (fitted,) = self.fit_members([member])
        if fitted.model is None:
            raise ScidentError(fitted.reason)
        self.state = fitted.model.state

    @classmethod
    def fit_members(cls, members: Sequence[Member], checkpoints: Path | None = None) -> list[Fitted]:
        """Fit all members, those of equal shape together."""
        found: dict[str, Fitted] = {}
        for _, group in groupby(sorted(members, key=cls._shape), key=cls._shape):
            together = list(group)
            found |= dict(zip([m.id for m in together], cls._fit_together(together, checkpoints), strict=True))
        return [found[m.id] for m in members]

    @classmethod
    def _shape(cls, member: Member) -> tuple[str, ...]:
        shared = member.params.model_dump_json(exclude=set(cls.along_members))
        design = str(cls._design(member)) if cls.knows_contexts else ""
        return shared, design, str(member.n_latents), str(member.train.shape), str(member.val.shape)

    @classmethod
    def _design(cls, member: Member) -> Design:
        return design_of(member.train, member.n_latents, cls.block_names(member.params, member.n_latents))

    @classmethod
    def _fit_together(cls, members: Sequence[Member], checkpoints: Path | None) -> list[Fitted]:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        first = members[0]
        params: Any = first.params
        n_train, n_val = first.train.n_obs, first.val.n_obs
        design = cls._design(first)
        network = cls.network(params, design)
        tried = [attempt for member in members for attempt in _restarts.attempts(member, params.starts)]
        prepared = {id(m.train): network.prepare(m.train) for m in {id(m.train): m for m in members}.values()}
        data, rows = _resident(tried, network, prepared, design if cls.knows_contexts else None, device, cls.dtype)
        store = Store(checkpoints, [m.key for m in tried])
        running = [cls._start(network, member, row) for member, row in zip(tried, rows, strict=True)]
        for position, (member, progress) in enumerate(zip(tried, running, strict=True)):
            for name, value in prepared[id(member.train)].items():
                progress.state.buffers[name] = torch.as_tensor(value).to(cls.dtype)
            store.restore(position, progress)
        restored = [progress.epoch for progress in running]
        schedule = cls.schedule(params)
        for epoch in sorted({progress.epoch for progress in running if not progress.done}):
            at = [i for i, progress in enumerate(running) if not progress.done and progress.epoch == epoch]
            part = Store(checkpoints, [tried[i].key for i in at])
            train(network, [running[i] for i in at], data, n_train, n_val, schedule, part.save)
        own = [slice(i, i + params.starts) for i in range(0, len(tried), params.starts)]
        return [cls._finished(m, running[i], restored[i]) for m, i in zip(members, own, strict=True)]

    @classmethod
    def _start(cls, network: Network, member: Member, rows: tuple[int, int]) -> Progress:
        params: Any = member.params
        hyper = cls.hyper(params, member.train)
        state = initial_state(network.parameters(), network.buffers(), hyper, member.seed, cls.dtype)
        return Progress(
            state,
            member.seed,
            rows,
            params.learning_rate,
            params.epochs,
            params.patience,
            params.decay,
            cosine=params.schedule == "cosine",
            done=params.epochs == 0,
        )

    @classmethod
    def _finished(cls, member: Member, starts: Sequence[Progress], restored: Sequence[int]) -> Fitted:
        progress = starts[_restarts.best(starts)]
        run = sum(one.epoch - before for one, before in zip(starts, restored, strict=True))
        trained = progress.epoch, run, progress.history, progress.state.hyper | _restarts.resolved(starts)
        if progress.failure:
            return Fitted(None, progress.failure, *trained)
        model = cls(member.params, member.n_latents)
        model.state = progress.state.arrays() | (remembered(cls._design(member)) if cls.knows_contexts else {})
        try:
            model.finish(member.train)
        except Exception as error:
            log.exception("%s failed on %s", cls.__name__, member.id)
            return Fitted(None, reason_of(error), *trained)
        return Fitted(model, "", *trained)

    def finish(self, train: ad.AnnData) -> None:
        """Add to the state what a trained model derives from its training cells; nothing by default."""

    def design(self, cells: ad.AnnData) -> Design:
        """Return the design the model was trained with; without `knows_contexts` its contexts are those of `cells`."""
        blocks = self.block_names(self.params, self.n_latents)
        known = recalled(self.state, cells, self.n_latents, blocks) if self.knows_contexts else None
        return known or design_of(cells, self.n_latents, blocks)

    def stack(self, cells: ad.AnnData) -> tuple[Network, Stack]:
        """Return the network and a stack of this one member, on the CPU; `cells` have the training cells' genes."""
        network = self.network(self.params, self.design(cells))
        tensors = {n: torch.from_numpy(np.array(v)) for n, v in self.state.items()}
        parameters = {n: tensors[n] for n in network.parameters()}
        buffers = {n: tensors[n] for n in network.buffers()}
        return network, Stack([MemberState(parameters, buffers, {})], torch.device("cpu"), self.dtype)

    @abstractmethod
    def embed(self, cells: ad.AnnData) -> Latents:
        """Return posterior means of any cells."""


def cells_of(
    blocks: Sequence[ad.AnnData],
    expression: Sequence[Matrix],
    design: Design | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Cells:
    """Put some blocks of cells into memory, with contexts and controls where a design says which contexts there are."""
    labels = [b.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64) for b in blocks]
    if design is None:
        return Cells(expression, labels, device, dtype)
    contexts = [context_codes(b, design.contexts) for b in blocks]
    control = [b.obs["is_control"].to_numpy(dtype=bool) for b in blocks]
    return Cells(expression, labels, device, dtype, contexts, control)


def _resident(
    members: Sequence[Member],
    network: Network,
    prepared: Mapping[int, Mapping[str, np.ndarray]],
    design: Design | None,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Cells, list[tuple[int, int]]]:
    """Put each world's cells into memory once, however many members share it; return the first rows of each member."""
    blocks: list[ad.AnnData] = []
    expression: list[Matrix] = []
    first: dict[int, int] = {}
    for member in members:
        for block in (member.train, member.val):
            if id(block) not in first:
                first[id(block)] = len(blocks)
                blocks.append(block)
                expression.append(network.resident(block, prepared[id(member.train)]))
    data = cells_of(blocks, expression, design, device, dtype)
    rows = [(int(data.offsets[first[id(m.train)]]), int(data.offsets[first[id(m.val)]])) for m in members]
    return data, rows
