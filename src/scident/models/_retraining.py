"""The second training of the count VAE's family (svae.md §7, phase 2), before cells of unseen perturbations are scored.

What it leaves stands in the state under the prefix "retrained."; latents, targets and likelihoods of seen perturbations
are those of the first training.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from scident.engine.progress import Progress
from scident.engine.stack import MemberState
from scident.engine.trainer import Network
from scident.errors import NotApplicable
from scident.models._count_vae import CountVAE, CountVAEParams
from scident.models.base import Fitted, Member

PREFIX = "retrained."
RETRAIN = 3
"""Purpose of the random streams of the second training (the first has those of the trainer)."""


class TwiceTrainedParams(CountVAEParams):
    """The count VAE's parameters and the length of the second training."""

    retrain_epochs: int | None = Field(
        None,
        ge=0,
        description="Most epochs of training again (with the mask frozen, where there is one) before held-out "
        "perturbations are scored; null: as many as `epochs`; 0: the mask is only frozen.",
    )


@dataclass(frozen=True)
class Again(Member):
    """A member of the second training: it starts where the first ended."""

    hyper: dict[str, float] = field(default_factory=dict)
    state: dict[str, np.ndarray] = field(default_factory=dict)
    """Arrays of the first training, and the mask where there is one, [perts, latents]."""


class SecondTraining(CountVAE):
    """A model that goes on from a state instead of a random start."""

    along_members = CountVAE.along_members | {"retrain_epochs", "penalty", "penalty_per_cell"}
    plain: bool = False
    """True: published code for this model applies no weight to the KL and keeps all running statistics."""

    @classmethod
    def _start(cls, network: Network, member: Member, rows: tuple[int, int]) -> Progress:
        assert isinstance(member, Again)
        params: Any = member.params
        tensors = {n: torch.from_numpy(np.array(v)).to(cls.dtype) for n, v in member.state.items()}
        state = MemberState(
            {n: tensors[n] for n in network.parameters()}, {n: tensors[n] for n in network.buffers()}, member.hyper
        )
        epochs = params.epochs if params.retrain_epochs is None else params.retrain_epochs
        return Progress(
            state,
            member.seed,
            rows,
            params.learning_rate,
            epochs,
            params.patience,
            params.decay,
            cosine=params.schedule == "cosine",
            done=epochs == 0,
        )


class TwiceTrained(CountVAE):
    """A model that is trained again before held-out cells are scored, so that methods differ by nothing else."""

    along_members = CountVAE.along_members | {"retrain_epochs"}
    retrains = True
    plain: ClassVar[bool] = False
    """True: published code for this model trains again on R + KL from the first step (see also `Prepared.adapt`)."""
    second: ClassVar[type[SecondTraining]] = SecondTraining

    @classmethod
    def retrain_members(
        cls, members: Sequence[Member], fitted: Sequence[Fitted], published: bool, checkpoints: Path | None = None
    ) -> list[Fitted]:
        """Train again on the same cells, with new moments of Adam.

        The loss is R + KL from the first step, as `beta` and `scale_by_cells` have it, without global terms.
        `published`: sVAE+ ignores `beta`, the other methods leave the KL out of the first epoch.

        Returns
        -------
        Per member: its model, with the arrays of the second training added; epochs and history are those of the second.
        """
        known = [(m, f, f.model) for m, f in zip(members, fitted, strict=True) if isinstance(f.model, cls)]
        again = cls.second.fit_members([model._again(m, published) for m, _, model in known], checkpoints)
        done = {m.id: model._merged(f, new) for (m, f, model), new in zip(known, again, strict=True)}
        return [done.get(m.id, f) for m, f in zip(members, fitted, strict=True)]

    def _again(self, member: Member, published: bool) -> Again:
        params: Any = member.params
        hyper = type(self).hyper(params, member.train) | {"warmup_epochs": float(published and not self.plain)}
        hyper |= {"beta": 1.0} if published and self.plain else {}
        return Again(
            member.id,
            member.train,
            member.val,
            params.model_copy(update={"starts": 1}),
            member.n_latents,
            np.random.SeedSequence(member.seed.entropy, spawn_key=(*member.seed.spawn_key, RETRAIN)),
            member.key and f"{member.key}-retrained{'-published' * published}",
            hyper,
            self._first_state(member),
        )

    def _first_state(self, member: Member) -> dict[str, np.ndarray]:
        """Return the arrays that the second training starts from."""
        return self.state

    def _merged(self, first: Fitted, second: Fitted) -> Fitted:
        if second.model is None:
            return second
        model = copy.copy(self)
        model.state = self.state | {f"{PREFIX}{name}": value for name, value in second.model.state.items()}
        return Fitted(model, "", second.epochs, second.epochs_run, second.history, first.resolved)

    def prepared(self) -> SecondTraining:
        """Return the model of the second training."""
        model = self.second(self.params, self.n_latents)
        model.plain = self.plain
        model.state = {n.removeprefix(PREFIX): v for n, v in self.state.items() if n.startswith(PREFIX)}
        if not model.state:
            raise NotApplicable("not_retrained")
        return model
