"""What the perturbation label alone gives: PCA of the training condition means, mapped through the label."""

import anndata as ad
import numpy as np

from scident.expression import log_normalised
from scident.info import ModelInfo
from scident.models.base import Model
from scident.params import PluginParams
from scident.types import Latents

info = ModelInfo(
    label="label only",
    source="control of this project",
    role="negative_control",
    gives=("latents",),
    stochastic=False,
    light=True,
    assumes="the perturbation label of every cell is given",
)


class Params(PluginParams):
    """No parameters."""


class LabelOnly(Model):
    """One point per perturbation; a label without training cells gets the mean of the points that have."""

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Compute one embedding per perturbation, [perts, latents]."""
        x, labels = log_normalised(train), train.obs["perturbation"].cat
        codes = labels.codes.to_numpy()
        seen = np.unique(codes)
        means = np.stack([x[codes == code].mean(0) for code in seen])
        means -= means.mean(0)
        _, _, directions = np.linalg.svd(means, full_matrices=False)
        points = means @ directions[: self.n_latents].T
        table = np.zeros((len(labels.categories), self.n_latents))
        table[:, : points.shape[1]] = points.mean(0)
        table[seen, : points.shape[1]] = points
        self.state = {"table": table}

    def embed(self, cells: ad.AnnData) -> Latents:
        """Look the label up."""
        points: Latents = self.state["table"][cells.obs["perturbation"].cat.codes.to_numpy()]
        return points
