"""Principal component analysis of log-normalised expression."""

import anndata as ad
import numpy as np

from scident.expression import log_normalised
from scident.info import ModelInfo
from scident.models._linear import LinearEncoder
from scident.params import PluginParams

info = ModelInfo(
    label="PCA",
    source="Pearson 1901; scikit-learn",
    role="baseline",
    gives=("latents",),
    stochastic=False,
    light=True,
    assumes="what varies most matters; axes are orthogonal, so a rotation of the truth stays",
)


class Params(PluginParams):
    """PCA has no parameters here; its dimension is the dataset's number of latents."""


class PCA(LinearEncoder):
    """Components of the training cells."""

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Fit on training cells; the solver is exact."""
        from sklearn import decomposition

        x = log_normalised(train)
        n = min(self.n_latents, *x.shape)
        solver = decomposition.PCA(n_components=n, svd_solver="covariance_eigh").fit(x)
        self.state = {"centre": solver.mean_, "weights": solver.components_.T}
