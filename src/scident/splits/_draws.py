"""A random order of the cells of each condition, for splits that divide them."""

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Int

from scident.types import condition_columns


def ranked(adata: ad.AnnData, rng: np.random.Generator) -> tuple[Int[np.ndarray, " cells"], Int[np.ndarray, " cells"]]:
    """Return each cell's place in a random order of its condition's cells, 0 first, and how many these are.

    One number is drawn per cell, in the order of the cells' names, so the order of the file does not matter.
    """
    by_name = np.argsort(adata.obs_names.to_numpy(dtype=str), kind="stable")
    drawn = np.empty(adata.n_obs)
    drawn[by_name] = rng.random(adata.n_obs)
    conditions = [adata.obs[name].astype(str).to_numpy() for name in condition_columns(adata.obs)]
    groups = pd.Series(drawn).groupby(conditions)
    return groups.rank(method="first").to_numpy().astype(np.int64) - 1, groups.transform("size").to_numpy()
