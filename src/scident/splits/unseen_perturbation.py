"""Whole perturbations are held out: none of their cells is seen in training."""

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field

from scident.errors import ConfigError, nearest
from scident.info import SplitInfo
from scident.params import PluginParams
from scident.splits.base import HeldOut

info = SplitInfo(
    label="Unseen perturbations",
    source="Lopez, Tagasovska, Ra, Cho, Pritchard & Regev (2023), CLeaR, arXiv:2211.03553",
)

FEWEST_TRAINING = 2
"""With fewer training perturbations there is no contrast to learn from."""


class Params(PluginParams):
    """Which perturbations are held out."""

    held_out: list[str] | None = Field(None, min_length=1, description="Labels to hold out; null: the last `last_n`.")
    last_n: int = Field(20, ge=1, description="How many of the last perturbations to hold out, in category order.")


def assign(adata: ad.AnnData, params: Params, rng: np.random.Generator) -> HeldOut:
    """Hold out the named perturbations or the last ones; controls never.

    Raises
    ------
    ConfigError
        A label is unknown or a control, or fewer than two perturbations would be left to train on.
    """
    del rng
    label = adata.obs["perturbation"]
    controls = set(label[adata.obs["is_control"].to_numpy(dtype=bool)])
    order = [name for name in label.cat.categories if name not in controls]
    held_out = order[-params.last_n :] if params.held_out is None else params.held_out
    for name in held_out:
        if name in controls:
            raise ConfigError(
                f"unseen_perturbation: held_out names the control label {name!r}; remove it from the list"
            )
        if name not in order:
            raise ConfigError(
                f"unseen_perturbation: held_out names {name!r}, but the data have no such perturbation; found "
                f"{len(order)}: {', '.join(order[:5])}{', …' if len(order) > 5 else ''}.{nearest(name, order)}"
            )
    left = len(order) - len(set(held_out))
    if left < FEWEST_TRAINING:
        key = "last_n" if params.held_out is None else "held_out"
        raise ConfigError(
            f"unseen_perturbation: {key} holds out {len(set(held_out))} of {len(order)} perturbations and leaves "
            f"{left} to train on; hold out at most {max(len(order) - FEWEST_TRAINING, 0)}"
        )
    return pd.Series(label.isin(held_out).to_numpy(), index=adata.obs_names)
