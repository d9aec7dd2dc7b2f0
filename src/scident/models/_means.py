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

    def variance(self, seen: Seen, condition: Mapping[str, str]) -> Genes:
        """Return the sampling variance of a mean of cells; 0 where the prediction is none and its error its own."""
        return np.zeros(seen.control.mean.shape[1])

    def predict(self, request: Request, rng: np.random.Generator) -> Predictions:
        """Ask for the mean of every condition; those without one get no row."""
        seen = Seen.of(request.seen)
        asked = conditions_of(request.conditions)
        found = [self.mean(seen, condition) for condition in asked]
        given = np.array([mean is not None for mean in found], dtype=bool)
        shape = given.sum(), request.seen.n_vars
        means = np.array([mean for mean in found if mean is not None]).reshape(shape)
        noise = np.array([self.variance(seen, asked[row]) for row in np.flatnonzero(given)]).reshape(shape)
        return Predictions(request.conditions[given].assign(kind="").reset_index(drop=True), means, noise)
