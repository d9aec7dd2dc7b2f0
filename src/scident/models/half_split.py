"""The other half: every condition looks like the mean of its own cells that are neither trained on nor scored."""

import anndata as ad
import numpy as np
import pandas as pd

from scident.errors import NotApplicable
from scident.expression import moments
from scident.info import ModelInfo
from scident.models.base import Model
from scident.params import PluginParams
from scident.types import Predictions, Request, condition_columns

info = ModelInfo(
    label="half split",
    source="control of this project",
    role="positive_control",
    gives=("predictions",),
    stochastic=False,
    light=True,
    assumes="cells of the scored conditions are given",
)


class Params(PluginParams):
    """No parameters."""


class HalfSplit(Model):
    """As good as a prediction can be when its cells are as few as the scored ones: the ceiling of predictions."""

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Learn nothing: `predict` is given the other half."""

    def predict(self, request: Request, rng: np.random.Generator) -> Predictions:
        """Return the mean of the other half of each condition; conditions without one get no row."""
        if self.other_half is None or not self.other_half.n_obs:
            raise NotApplicable("no_other_half")
        columns = condition_columns(request.conditions)
        half = moments(self.other_half, ~self.other_half.obs["is_control"].to_numpy(dtype=bool), columns)
        asked, known = (pd.MultiIndex.from_frame(obs[columns].astype(str)) for obs in (request.conditions, half.obs))
        row = known.get_indexer(asked)
        obs = request.conditions[row >= 0].assign(kind="").reset_index(drop=True)
        return Predictions(obs, half.mean[row[row >= 0]], half.variance[row[row >= 0]])
