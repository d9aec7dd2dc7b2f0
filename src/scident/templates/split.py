"""Every n-th perturbation is held out: replace this line by one that says what is never seen in training."""

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field

from scident.errors import ConfigError
from scident.info import SplitInfo
from scident.params import PluginParams
from scident.splits.base import HeldOut

info = SplitInfo(  # literals only: the registry reads them without importing this file
    label="template",  # its name in tables and figures
    source="this checkout",  # author, year, venue, identifier
)


class Params(PluginParams):
    """What a config entry may set beside `use` and `protocol`."""

    every: int = Field(5, ge=2, description="Of how many perturbations, in category order, one is held out.")


def assign(adata: ad.AnnData, params: Params, rng: np.random.Generator) -> HeldOut:
    """Say for each cell whether its condition is held out; controls never are, and counts are not looked at.

    Raises
    ------
    ConfigError
        There are too few perturbations to hold one out.
    """
    label = adata.obs["perturbation"]
    controls = set(label[adata.obs["is_control"].to_numpy(dtype=bool)])
    order = [name for name in label.cat.categories if name not in controls]
    held_out = order[params.every - 1 :: params.every]
    if not held_out:
        raise ConfigError(f"every is {params.every}, but there are {len(order)} perturbations; set it to fewer")
    return pd.Series(label.isin(held_out).to_numpy(), index=adata.obs_names)
