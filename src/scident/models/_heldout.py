"""Perturbations never trained on, in three phases (svae.md §7): train, freeze the mask and train again, fit shifts.

Phase 1 is `fit_members`, phase 2 `TwiceTrained.retrain_members`, phase 3 `Prepared.adapt`.
"""

import copy
from abc import abstractmethod
from typing import Any

import anndata as ad
import numpy as np
import torch
from torch import Tensor

from scident.engine.batches import chunks
from scident.engine.streams import Streams
from scident.engine.trainer import SMALLEST_BATCH, TRAIN
from scident.models._retraining import SecondTraining, TwiceTrained
from scident.models._shift_prior import FrozenMaskNetwork
from scident.models.base import Member

ADAPT_LEARNING_RATE = 5e-3
"""Adam's step size of the published phase 3 (svae.md §4)."""


class Prepared(SecondTraining):
    """A model whose mask is frozen; `adapt` fits the shifts of more perturbations."""

    network_class = FrozenMaskNetwork

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


class AdaptingModel(TwiceTrained):
    """A model that has a shift per perturbation, and so can be fitted to perturbations never trained on.

    Its second training freezes the mask to q > 0.5; perturbations without training cells get shift 0 and a mask of
    ones.
    """

    second = Prepared

    @abstractmethod
    def mask_probability(self) -> np.ndarray:
        """Return the probability that a perturbation moves a latent, [perts, latents]."""

    def _first_state(self, member: Member) -> dict[str, np.ndarray]:
        codes = member.train.obs["perturbation"].cat.codes.to_numpy()
        untrained = ~np.isin(np.arange(len(self.state["shift"])), codes)
        mask, shift = self.mask_probability() > 0.5, self.state["shift"].copy()
        mask[untrained], shift[untrained] = True, 0
        return self.state | {"shift": shift, "mask": mask}
