"""Gaussian noise that does not look at the cell: chance level of every metric."""

import anndata as ad
import numpy as np

from scident.info import ModelInfo
from scident.models.base import Model
from scident.params import PluginParams
from scident.types import Latents

info = ModelInfo(
    label="random encoder",
    source="control of this project",
    role="negative_control",
    gives=("latents",),
    light=True,
)


class Params(PluginParams):
    """No parameters."""


class RandomEncoder(Model):
    """Standard normal latents, independent of everything."""

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Draw the entropy that fixes what `embed` will draw."""
        self.state = {"entropy": rng.integers(2**31, size=4)}

    def embed(self, cells: ad.AnnData) -> Latents:
        """Draw latents in the order of the cells."""
        rng = np.random.default_rng(self.state["entropy"].tolist())
        return rng.standard_normal((cells.n_obs, self.n_latents))
