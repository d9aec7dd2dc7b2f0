"""Nothing is held out: fit and score cells are cells of the training conditions."""

import anndata as ad
import numpy as np
import pandas as pd

from scident.info import SplitInfo
from scident.params import PluginParams
from scident.splits.base import HeldOut

info = SplitInfo(label="Random cells", source="scident")


class Params(PluginParams):
    """There is nothing to choose."""


def assign(adata: ad.AnnData, params: Params, rng: np.random.Generator) -> HeldOut:
    """Hold out no condition."""
    del params, rng
    return pd.Series(False, index=adata.obs_names)
