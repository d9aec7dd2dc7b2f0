"""What a model is asked and what it answers.

A model is one file with ``info = ModelInfo(...)``, ``class Params(PluginParams)`` and one subclass of `Model`.
The train stage calls `fit_members`, the infer stage what ``info.gives`` names: `embed` for latents, then `targets`,
`likelihood` and `predict`.
What a model learned stands in ``state``, plain arrays, so saving and loading are inherited.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import anndata as ad
import numpy as np

from scident.errors import ScidentError, reason_of
from scident.params import PluginParams
from scident.types import Latents, Likelihood, Predictions, Request, Targets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One model to be fitted: a replicate, a grid point and a seed."""

    id: str
    """As in ``r0.g1.s2``."""
    train: ad.AnnData
    val: ad.AnnData
    params: PluginParams
    n_latents: int
    seed: np.random.SeedSequence
    key: str = ""
    """Digest of everything the result depends on; names its checkpoint."""


@dataclass
class Fitted:
    """What came of a member."""

    model: "Model | None"
    """None: the fit failed."""
    reason: str = ""
    """Why it failed."""
    epochs: int = 0
    """Of the whole training."""
    epochs_run: int = 0
    """Of these, how many this job ran: those that a checkpoint held cost nothing now."""
    history: list[tuple[int, str, float]] = field(default_factory=list)
    """(epoch, quantity, value)."""
    resolved: dict[str, float] = field(default_factory=dict)
    """Numbers the parameters became on these cells, such as a penalty given per cell."""


class Model(ABC):
    """A method, a baseline or a control with one set of parameters."""

    retrains: ClassVar[bool] = False
    """Whether `retrain_members` does anything; asked where perturbations are held out."""
    truth: ad.AnnData | None = None
    """The truth file of the cells to embed; the infer stage sets it for positive controls and for nobody else."""
    other_half: ad.AnnData | None = None
    """Cells of the scored conditions that are not scored (parts fit and heldout_fit), given like the truth."""

    def __init__(self, params: PluginParams, n_latents: int) -> None:
        self.params = params
        self.n_latents = n_latents
        self.state: dict[str, np.ndarray] = {}

    @abstractmethod
    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Learn from training cells (counts in X, obs perturbation with all K categories); `val` may steer stopping."""

    def embed(self, cells: ad.AnnData) -> Latents:
        """Return posterior means of any cells, in evaluation mode. Only asked of models that give latents."""
        raise ScidentError(f"{type(self).__name__} declares latents but does not implement embed")

    def companions(self, cells: ad.AnnData, rng: np.random.Generator) -> dict[str, Latents]:
        """Return other latents of the same cells by which to judge those of `embed`, for models that read labels.

        ``prior_only``: what the labels alone give; ``shuffled_expression``: posterior means with the expression
        permuted over the cells given and their labels kept. The cells given are all of one part of the split.
        """
        return {}

    def targets(self) -> Targets | None:
        """Return which latents each of the K perturbations moves, if the model has such parameters."""
        return None

    def blocks(self) -> tuple[str, ...] | None:
        """Return the block of each latent (x: context, tx: interaction, t: perturbation), if the model has blocks."""
        return None

    def likelihood(self, cells: ad.AnnData, rng: np.random.Generator, samples: int = 0) -> Likelihood:
        """Return both bounds of each cell, the importance-weighted one from so many samples (0: not at all).

        Only asked of models that give a likelihood.
        """
        raise ScidentError(f"{type(self).__name__} declares a likelihood but does not implement one")

    def knows(self, cells: ad.AnnData) -> bool:
        """Whether the likelihood of cells of held-out conditions is defined as it stands.

        Only asked of models whose likelihood depends on labels: a combination may be made of labels trained on.
        """
        return False

    def predict(self, request: Request, rng: np.random.Generator) -> Predictions:
        """Return the mean expression of the conditions asked for; a condition it cannot predict has no row.

        Only asked of models that give predictions.
        """
        raise ScidentError(f"{type(self).__name__} declares predictions but does not implement predict")

    def adapt(self, cells: ad.AnnData, rng: np.random.Generator, published: bool = False) -> "Model":
        """Return this model with what a perturbation never trained on needs fitted to `cells`, all else frozen.

        Only asked of models with ``info.adapts``, after `retrain_members`. `published`: fit as published code does.
        """
        raise ScidentError(f"{type(self).__name__} says it adapts but does not implement it")

    @classmethod
    def retrain_members(
        cls, members: Sequence[Member], fitted: Sequence[Fitted], published: bool, checkpoints: Path | None = None
    ) -> list[Fitted]:
        """Train the fitted members a second time on their training cells, before held-out cells are scored.

        The model returned also holds what the first training gave; epochs and history are those of the second alone.
        """
        return [replace(one, epochs=0, epochs_run=0, history=[]) for one in fitted]

    def prepared(self) -> "Model":
        """Return the model that `retrain_members` left, the one scored on held-out cells, before and after `adapt`."""
        return self

    @classmethod
    def fit_members(cls, members: Sequence[Member], checkpoints: Path | None = None) -> list[Fitted]:
        """Fit members one after the other; the failure of one leaves the others alone."""
        return [cls._fit_one(member) for member in members]

    @classmethod
    def _fit_one(cls, member: Member) -> Fitted:
        model = cls(member.params, member.n_latents)
        try:
            model.fit(member.train, member.val, np.random.default_rng(member.seed))
        except Exception as error:
            log.exception("%s failed on %s", cls.__name__, member.id)
            return Fitted(None, reason_of(error))
        return Fitted(model)
