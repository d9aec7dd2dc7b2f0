"""Expression as everybody reads it: log1p of counts per 10,000, and its means by condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import sparse

from scident import contracts
from scident.types import condition_columns

Genes = Float[np.ndarray, " genes"]
ROWS = 2**10
"""Most cells made dense at once."""


def log_normalised(cells: ad.AnnData) -> Float[np.ndarray, "cells genes"]:
    """Return log1p of counts per 10,000, dense (cells without counts stay zero); X itself where it holds no counts."""
    return _log_normalised(cells.X, contracts.observation(cells))


def _log_normalised(x: Any, observation: str) -> Float[np.ndarray, "cells genes"]:
    counts = _dense(x)
    return counts if observation == "normal" else normalised(counts)


def normalised(counts: Float[np.ndarray, "cells genes"]) -> Float[np.ndarray, "cells genes"]:
    """Return log1p of counts per 10,000."""
    total = counts.sum(1, keepdims=True)
    found: np.ndarray = np.log1p(counts * (1e4 / np.maximum(total, 1)))
    return found


def dense(cells: ad.AnnData) -> Float[np.ndarray, "cells genes"]:
    """Return X as a dense double array."""
    return _dense(cells.X)


def _dense(x: Any) -> Float[np.ndarray, "cells genes"]:
    return np.asarray(x.toarray() if sparse.issparse(x) else x, dtype=np.float64)


@dataclass(frozen=True)
class Moments:
    """Expression of some groups of cells."""

    obs: pd.DataFrame
    """Labels of each group, as text; index 0, 1, …"""
    cells: Int[np.ndarray, " groups"]
    mean: Float[np.ndarray, "groups genes"]
    sd: Float[np.ndarray, "groups genes"]
    """Over the cells of the group; 0 of a single cell."""

    @property
    def variance(self) -> Float[np.ndarray, "groups genes"]:
        """Sampling variance of the means."""
        found: np.ndarray = self.sd**2 / self.cells[:, None]
        return found


def moments(cells: ad.AnnData, rows: Bool[np.ndarray, " cells"], by: Sequence[str]) -> Moments:
    """Return the moments of log-normalised expression by labels, few cells of a group in memory at a time.

    Parameters
    ----------
    cells, rows
        The cells, and which of them count.
    by
        Columns of obs; groups are in the order of their labels as text.
    """
    chosen = np.flatnonzero(rows)
    labels = pd.DataFrame({name: cells.obs[name].astype(str).to_numpy()[chosen] for name in by})
    groups = {key: chosen[own] for key, own in sorted(labels.groupby(list(by)).indices.items())}
    found = [_moments(cells, own) for own in groups.values()]
    mean, sd = (np.array([pair[i] for pair in found]).reshape(len(found), cells.n_vars) for i in (0, 1))
    keys = [key if isinstance(key, tuple) else (key,) for key in groups]
    sizes = np.array([len(own) for own in groups.values()], dtype=np.int64)
    return Moments(pd.DataFrame(keys, columns=list(by)), sizes, mean, sd)


def _moments(cells: ad.AnnData, rows: Int[np.ndarray, " chosen"]) -> tuple[Genes, Genes]:
    """Return mean and standard deviation, pieces put together as in Chan, Golub & LeVeque (1983)."""
    count, mean, squares = 0, np.zeros(cells.n_vars), np.zeros(cells.n_vars)
    kind = contracts.observation(cells)
    for start in range(0, len(rows), ROWS):
        x = _log_normalised(cells.X[rows[start : start + ROWS]], kind)  # a view of the cells would copy their labels
        own = x.mean(0)
        step, share = own - mean, len(x) / (count + len(x))
        squares += ((x - own) ** 2).sum(0) + step**2 * count * share
        mean += step * share
        count += len(x)
    return mean, np.sqrt(squares / max(count - 1, 1))


@dataclass(frozen=True)
class Seen:
    """What training and validation cells say about expression: means of controls and of treated conditions."""

    control: Moments
    """Of the control cells of each context that has any."""
    treated: Moments
    """Of each condition that is not a control."""

    @classmethod
    def of(cls, cells: ad.AnnData) -> "Seen":
        """Average the cells of each condition."""
        control = cells.obs["is_control"].to_numpy(dtype=bool)
        columns = condition_columns(cells.obs)
        return cls(moments(cells, control, ["context"]), moments(cells, ~control, columns))

    @property
    def controls(self) -> dict[str, Genes]:
        """Mean of the control cells of each context that has any."""
        return dict(zip(self.control.obs["context"], self.control.mean, strict=True))

    def centroid(self, context: str) -> Genes | None:
        """Return the mean over the means of treated conditions of a context, of all contexts if it has none."""
        if not len(self.treated.mean):
            return None
        own = self._of(context)
        mean: Genes = self.treated.mean[own].mean(0)
        return mean

    def centroid_variance(self, context: str) -> Genes:
        """Return the sampling variance of `centroid`."""
        own = self.treated.variance[self._of(context)]
        found: Genes = own.sum(0) / len(own) ** 2
        return found

    def cells_mean(self, context: str) -> Genes | None:
        """Return the mean over treated cells of a context, of all contexts if it has none."""
        if not len(self.treated.mean):
            return None
        own = self._of(context)
        return np.asarray(np.average(self.treated.mean[own], axis=0, weights=self.treated.cells[own]))

    def cells_mean_variance(self, context: str) -> Genes:
        """Return the sampling variance of `cells_mean`, the conditions' numbers of cells as they are."""
        own = self._of(context)
        shares = self.treated.cells[own] / self.treated.cells[own].sum()
        found: Genes = shares**2 @ self.treated.variance[own]
        return found

    def _of(self, context: str) -> Bool[np.ndarray, " groups"]:
        own = (self.treated.obs["context"] == context).to_numpy()
        return own if own.any() else np.ones(len(own), dtype=bool)
