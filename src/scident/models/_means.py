"""Baselines of response prediction: one mean of seen cells for each condition."""

from abc import abstractmethod
from collections.abc import Mapping

import anndata as ad
import numpy as np

from scident.expression import Genes, Seen
from scident.models.base import Model
from scident.types import Predictions, Request, conditions_of


class MeanModel(Model):
    """A baseline without latents: one mean of seen cells for each condition."""

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Learn nothing: `predict` is given the training cells."""

    @abstractmethod
    def mean(self, seen: Seen, condition: Mapping[str, str]) -> Genes | None:
        """Return the mean predicted for a condition, or None where it is not defined."""

    def predict(self, request: Request, rng: np.random.Generator) -> Predictions:
        """Ask for the mean of every condition; those without one get no row."""
        seen = Seen.of(request.seen)
        found = [self.mean(seen, condition) for condition in conditions_of(request.conditions)]
        given = np.array([mean is not None for mean in found], dtype=bool)
        means = np.array([mean for mean in found if mean is not None]).reshape(given.sum(), request.seen.n_vars)
        return Predictions(request.conditions[given].assign(kind="").reset_index(drop=True), means)
