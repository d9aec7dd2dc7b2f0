"""What screens of drugs share: hours of treatment, genes of one species."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from scident.datasets._labels import numbers
from scident.errors import ConfigError, DataError


def at_hours(obs: pd.DataFrame, cells: pd.DataFrame, params: Any) -> Bool[np.ndarray, " cells"]:
    """Keep the cells taken after ``params.hours`` of treatment, by the column ``time``; null: all.

    Raises
    ------
    ConfigError, DataError
        There are no such cells; there is no such column.
    """
    if params.hours is None:
        return np.ones(len(obs), dtype=bool)
    if "time" not in obs:
        raise DataError(f"obs has no column 'time', found {list(map(str, obs.columns))}; set `hours` to null")
    hours = numbers(obs["time"])
    chosen = np.asarray(hours == params.hours)
    if not chosen.any():
        found = ", ".join(f"{h:g}" for h in sorted(hours.dropna().unique())) or "no number"
        raise ConfigError(
            f"obs['time'] has no cell at {params.hours:g} hours, found {found}; set `hours` to one of them"
        )
    return chosen


def human_genes(var: pd.DataFrame, names: pd.Index, params: Any) -> Bool[np.ndarray, " genes"]:
    """Keep genes with a human Ensembl identifier."""
    ids = var["ensembl_id"].astype(str) if "ensembl_id" in var else var.index.to_series()
    return np.asarray(ids.str.startswith("ENSG"), dtype=bool)
