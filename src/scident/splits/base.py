"""What a split file must define.

A split only says which cells belong to held-out conditions; the split stage alone cuts parts, and it keeps every
held-out cell out of training. Its file holds ``info = SplitInfo(...)``, ``class Params`` and `assign`.
"""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import anndata as ad
import numpy as np
import pandas as pd

from scident.params import PluginParams

if TYPE_CHECKING:
    HeldOut = pd.Series[bool]
else:  # pandas' own class takes no subscript
    HeldOut = pd.Series
"""For each cell (index = obs_names), whether its condition is held out; NA (dtype boolean): nobody uses the cell."""


@runtime_checkable
class Split(Protocol):
    """A module of ``scident.splits``."""

    Params: type[PluginParams]

    def assign(self, adata: ad.AnnData, params: Any, rng: np.random.Generator) -> HeldOut:
        """Say for each cell, in order, whether its condition is held out.

        Raises `scident.errors.ConfigError` where the parameters ask for conditions the data do not have.
        """
        ...
