"""A random linear map of log-normalised expression."""

import anndata as ad
import numpy as np

from scident.expression import log_normalised
from scident.info import ModelInfo
from scident.models._linear import LinearEncoder
from scident.params import PluginParams

info = ModelInfo(
    label="random projection",
    source="control of this project; Johnson & Lindenstrauss 1984",
    role="negative_control",
    gives=("latents",),
    light=True,
)


class Params(PluginParams):
    """No parameters."""


class RandomProjection(LinearEncoder):
    """Gaussian weights, drawn per seed."""

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Draw the map; only the centre comes from training cells."""
        genes = train.n_vars
        weights = rng.standard_normal((genes, self.n_latents)) / np.sqrt(genes)
        self.state = {"centre": log_normalised(train).mean(0), "weights": weights}
