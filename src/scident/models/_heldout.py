"""Perturbations never trained on, in three phases (svae.md §7): train, freeze the mask and train again, fit shifts.

Phase 1 is `fit_members`. Phase 2 is `AdaptingModel.retrain_members`; what it leaves stands in the state under the
prefix "retrained." and is taken out by `AdaptingModel.prepared`. Phase 3 is `Prepared.adapt`.
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import anndata as ad
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from scident.engine.batches import chunks
from scident.engine.stack import MemberState
from scident.engine.streams import Streams
from scident.engine.trainer import SMALLEST_BATCH, TRAIN, Network, Progress
from scident.errors import NotApplicable
from scident.models._count_vae import CountVAE, CountVAEParams
from scident.models._shift_prior import FrozenMaskNetwork
from scident.models.base import Fitted, Member

PREFIX = "retrained."
RETRAIN = 3
"""Purpose of the random streams of phase 2 (phase 1 has those of the trainer)."""

ADAPT_LEARNING_RATE = 5e-3
"""Adam's step size of the published phase 3 (svae.md §4)."""


class AdaptingParams(CountVAEParams):
    """The count VAE's parameters and the length of phase 2."""

    retrain_epochs: int | None = Field(
        None,
        ge=0,
        description="Most epochs of training again with the mask frozen, before held-out perturbations are fitted; "
        "null: as many as `epochs`; 0: the mask is only frozen.",
    )


@dataclass(frozen=True)
class Retrained(Member):
    """A member of phase 2: it starts where phase 1 ended."""

    hyper: dict[str, float] = field(default_factory=dict)
    state: dict[str, np.ndarray] = field(default_factory=dict)
    """Arrays of phase 1, the mask among them, [perts, latents]."""


class Prepared(CountVAE):
    """A model whose mask is frozen; `adapt` fits the shifts of more perturbations."""

    network_class = FrozenMaskNetwork
    along_members = CountVAE.along_members | {"retrain_epochs", "penalty", "penalty_per_cell"}
    plain: bool = False
    """True: published code for this model applies no weight to the KL and keeps all running statistics."""

    @classmethod
    def _start(cls, network: Network, member: Member, rows: tuple[int, int]) -> Progress:
        assert isinstance(member, Retrained)
        params: Any = member.params
        tensors = {n: torch.from_numpy(np.array(v)).to(cls.dtype) for n, v in member.state.items()}
        state = MemberState(
            {n: tensors[n] for n in network.parameters()}, {n: tensors[n] for n in network.buffers()}, member.hyper
        )
        epochs = params.epochs if params.retrain_epochs is None else params.retrain_epochs
        return Progress(
            state, member.seed, rows, params.learning_rate, epochs, params.patience, params.decay, done=epochs == 0
        )

    def adapt(self, cells: ad.AnnData, rng: np.random.Generator, published: bool = False) -> "Prepared":
        """Return a copy with the shifts of the perturbations among `cells` fitted to them, where the mask is on.

        Only the KL depends on them, so their best values are the mean of the encoder's means over the cells of a
        perturbation: that is what they become, dropout off and running statistics in use, for every method alike.

        `published`: by gradient, as in the released code, which treats methods differently. For all of them the
        encoder is in training mode: dropout is on and batches of cells are normalised by their own statistics. For
        sVAE+ the KL has its whole weight from the first step, the number of cells is a factor of it (`scale_by_cells`),
        and the running statistics of the encoder stay; for the others the weight is 0 in the first epoch, and the
        running statistics of the encoder move towards the adapted cells, so that the copy encodes every cell
        differently. Those of the decoder stay for everyone. Adam's step is 5e-3; there are as many epochs as in phase 2
        (as in phase 1, if that was left out) and no early stop.
        """
        model = copy.copy(self)
        model.state = dict(self.state)
        codes = cells.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)
        rows, labels = np.unique(codes, return_inverse=True)
        if published:
            shift = self._descend(model, cells, rows, labels, rng)
        else:
            means = self.embed(cells)
            shift = np.stack([means[labels == i].mean(0) for i in range(len(rows))])
        on = self.state["mask"][rows] > 0
        model.state["shift"] = self.state["shift"].copy()
        model.state["shift"][rows] = np.where(on, shift, self.state["shift"][rows])
        return model

    @torch.no_grad()
    def _descend(
        self, model: "Prepared", cells: ad.AnnData, rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return shifts [rows, latents] after the published phase 3; move the encoder's statistics in `model`."""
        params: Any = self.params
        network, stack, data = self._network(cells)
        streams = Streams([np.random.SeedSequence(int(rng.integers(2**63)))], stack.device, stack.dtype)
        shift, mask = stack.p["shift"][0, rows], stack.b["mask"][0, rows]
        optimiser = torch.optim.Adam(
            [shift], ADAPT_LEARNING_RATE, eps=params.epsilon, weight_decay=params.weight_decay, fused=True
        )
        scale = float(cells.n_obs) if params.scale_by_cells else 1.0
        own = torch.from_numpy(labels).to(stack.device)
        for epoch in range(params.retrain_epochs or params.epochs):
            streams.start(TRAIN, epoch)
            (order,) = streams.permutations(cells.n_obs)
            weight = scale if self.plain else scale * params.beta * min(epoch, 1)
            for start, stop in chunks(cells.n_obs, params.batch_size, SMALLEST_BATCH):
                batch = data.gather(order[None, start:stop])
                keep = network.noise(streams, len(batch), training=True).get("keep")
                means = network.encode(stack, batch, training=True, masks=keep)[0][0].T
                shift.grad = weight * shift_slope(shift, mask, means, own[order[start:stop]])
                optimiser.step()
        if not self.plain:
            model.state |= {n: v[0].cpu().numpy() for n, v in stack.b.items()}
        fitted: np.ndarray = shift.cpu().numpy()
        return fitted


def shift_slope(shift: Tensor, mask: Tensor, means: Tensor, labels: Tensor) -> Tensor:
    """Return the slope of the mean KL in the shifts, [perturbations, latents].

    Parameters
    ----------
    shift, mask
        [perturbations, latents].
    means
        Means of q(z|x), [cells, latents].
    labels
        Row of `shift` of each cell.
    """
    return mask * torch.zeros_like(shift).index_add_(0, labels, shift[labels] - means) / len(means)


class AdaptingModel(CountVAE):
    """A model that has a shift per perturbation, and so can be fitted to perturbations never trained on."""

    along_members = CountVAE.along_members | {"retrain_epochs"}
    plain: ClassVar[bool] = False
    """True: published code for this model trains again on R + KL from the first step (see also `Prepared.adapt`)."""

    @abstractmethod
    def mask_probability(self) -> np.ndarray:
        """Return the probability that a perturbation moves a latent, [perts, latents]."""

    @classmethod
    def retrain_members(
        cls, members: Sequence[Member], fitted: Sequence[Fitted], published: bool, checkpoints: Path | None = None
    ) -> list[Fitted]:
        """Freeze the mask to q > 0.5 and train everything else again on the same cells.

        Perturbations without training cells get shift 0 and a mask of ones. The loss is R + KL from the first step, as
        `beta` and `scale_by_cells` have it. `published`: sVAE+ ignores `beta`, the other methods leave the KL out of
        the first epoch.

        Returns
        -------
        Per member: its model, with the arrays of phase 2 added; epochs and history are those of phase 2.
        """
        known = [(m, f, f.model) for m, f in zip(members, fitted, strict=True) if isinstance(f.model, cls)]
        again = Prepared.fit_members([model._frozen(m, published) for m, _, model in known], checkpoints)
        done = {m.id: model._merged(f, new) for (m, f, model), new in zip(known, again, strict=True)}
        return [done.get(m.id, f) for m, f in zip(members, fitted, strict=True)]

    def _frozen(self, member: Member, published: bool) -> Retrained:
        params: Any = member.params
        codes = member.train.obs["perturbation"].cat.codes.to_numpy()
        untrained = ~np.isin(np.arange(len(self.state["shift"])), codes)
        mask, shift = self.mask_probability() > 0.5, self.state["shift"].copy()
        mask[untrained], shift[untrained] = True, 0
        hyper = type(self).hyper(params, member.train) | {"warmup_epochs": float(published and not self.plain)}
        hyper |= {"beta": 1.0} if published and self.plain else {}
        return Retrained(
            member.id,
            member.train,
            member.val,
            params,
            member.n_latents,
            np.random.SeedSequence(member.seed.entropy, spawn_key=(*member.seed.spawn_key, RETRAIN)),
            member.key and f"{member.key}-retrained{'-published' * published}",
            hyper,
            self.state | {"shift": shift, "mask": mask},
        )

    def _merged(self, first: Fitted, second: Fitted) -> Fitted:
        if second.model is None:
            return second
        model = copy.copy(self)
        model.state = self.state | {f"{PREFIX}{name}": value for name, value in second.model.state.items()}
        return Fitted(model, "", second.epochs, second.epochs_run, second.history, first.resolved)

    def prepared(self) -> Prepared:
        """Return the model of phase 2, mask frozen, whose `adapt` is phase 3."""
        model = Prepared(self.params, self.n_latents)
        model.plain = self.plain
        model.state = {n.removeprefix(PREFIX): v for n, v in self.state.items() if n.startswith(PREFIX)}
        if not model.state:
            raise NotApplicable("not_retrained")
        return model
