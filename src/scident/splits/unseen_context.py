"""Whole contexts are held out: of their cells training sees the controls alone."""

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field

from scident.errors import ConfigError, nearest
from scident.info import SplitInfo
from scident.params import PluginParams
from scident.splits.base import HeldOut

info = SplitInfo(label="Unseen contexts", source="scident")


class Params(PluginParams):
    """Which contexts are held out."""

    held_out: list[str] | None = Field(None, min_length=1, description="Contexts to hold out; null: the last `last_n`.")
    last_n: int = Field(1, ge=1, description="How many of the last contexts to hold out, in alphabetical order.")


def assign(adata: ad.AnnData, params: Params, rng: np.random.Generator) -> HeldOut:
    """Hold out the treated cells of the named contexts or of the last ones; controls never.

    Raises
    ------
    ConfigError
        A context is unknown or has no controls, or no context with treated cells would be left to train on.
    """
    del rng
    context = adata.obs["context"].astype(str).to_numpy()
    control = adata.obs["is_control"].to_numpy(dtype=bool)
    names = sorted(set(context[~control]))
    held_out = names[-params.last_n :] if params.held_out is None else params.held_out
    for name in held_out:
        if name not in names:
            raise ConfigError(
                f"unseen_context: held_out names {name!r}, but no treated cell has this context; found {len(names)}: "
                f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}.{nearest(name, names)}"
            )
    if not set(names) - set(held_out):
        key = "last_n" if params.held_out is None else "held_out"
        raise ConfigError(
            f"unseen_context: {key} holds out all {len(names)} contexts; hold out at most {max(len(names) - 1, 0)}"
        )
    for name in held_out:
        if not (control & (context == name)).any():
            raise ConfigError(
                f"unseen_context: the context {name!r} has no control cells, so training would see nothing of it; "
                "hold out a context with controls"
            )
    return pd.Series(np.isin(context, held_out) & ~control, index=adata.obs_names)
