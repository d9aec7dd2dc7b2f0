"""Training sees few cells of each perturbation; what is scored are other cells, the same however few those are.

Scope *ood* is about them, although no condition is new. Where only combinations are thinned, single perturbations keep
all their cells, as in published runs on data efficiency.
"""

from typing import Literal

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field

from scident.errors import ConfigError
from scident.info import SplitInfo
from scident.params import PluginParams
from scident.splits import _draws
from scident.splits.base import HeldOut
from scident.types import parts_of

info = SplitInfo(
    label="Few cells",
    source="scident; of combinations after Bereket & Karaletsos (2023), NeurIPS, arXiv:2311.02794",
    whole=False,
    paired=True,
)


class Params(PluginParams):
    """How many cells training sees."""

    share: float = Field(
        0.1, ge=0, le=1, description="Share of the cells not held out that is used, of each condition, at least one."
    )
    held_out: float = Field(0.2, gt=0, lt=1, description="Share of the cells of each condition to hold out.")
    only: Literal["perturbations", "combinations"] = Field(
        "perturbations", description="Which conditions are thinned; controls never are."
    )


def assign(adata: ad.AnnData, params: Params, rng: np.random.Generator) -> HeldOut:
    """Hold out a share of the cells of each condition and use few of the others.

    Raises
    ------
    ConfigError
        There is nothing to thin, or training would see no perturbed cell.
    """
    treated = ~adata.obs["is_control"].to_numpy(dtype=bool)
    label = adata.obs["perturbation"].astype(str)
    combined = label.map(lambda name: len(parts_of(name)) > 1).to_numpy(dtype=bool)
    thinned = treated & combined if params.only == "combinations" else treated
    if not thinned.any():
        raise ConfigError(
            f"low_data: the data have no {params.only} to thin, {treated.sum()} treated cells of "
            f"{label[treated].nunique()} perturbations; combinations are labels such as A+B"
        )
    rank, size = _draws.ranked(adata, rng)
    held = np.round(params.held_out * size)
    used = held + np.ceil(params.share * (size - held))
    found = pd.Series(False, index=adata.obs_names, dtype="boolean")
    found[thinned & (rank >= used)] = None
    found[thinned & (rank < held)] = True
    if not (treated & found.eq(False).fillna(False).to_numpy(dtype=bool)).any():
        raise ConfigError(
            f"low_data: share {params.share:g} of {params.only} leaves no perturbed cell to train on; use more"
        )
    return found
