"""Doses are held out: each perturbation is seen at its other doses."""

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field

from scident.errors import ConfigError
from scident.info import SplitInfo
from scident.params import PluginParams
from scident.splits.base import HeldOut

info = SplitInfo(label="Unseen doses", source="scident, after Mao et al. (2024), NeurIPS, arXiv:2410.22472")


class Params(PluginParams):
    """Which doses are held out."""

    held_out: list[float] | None = Field(
        None, min_length=1, description="Doses to hold out, in the data's unit; null: the highest of each perturbation."
    )


def assign(adata: ad.AnnData, params: Params, rng: np.random.Generator) -> HeldOut:
    """Hold out the listed doses, or of each perturbation with several doses the highest; controls never.

    Raises
    ------
    ConfigError
        The data have no doses, none of the listed ones, or a perturbation would be seen at no dose.
    """
    del rng
    treated = ~adata.obs["is_control"].to_numpy(dtype=bool)
    dose = _doses(adata, treated)
    label = adata.obs["perturbation"].astype(str).to_numpy()
    if params.held_out is None:
        highest = dose[treated].groupby(label[treated]).agg(["min", "max"])
        several = highest.index[highest["min"] < highest["max"]]
        if several.empty:
            raise ConfigError("unseen_dose: no perturbation has two doses; choose another split")
        held = treated & np.isin(label, several) & (dose.to_numpy() == highest["max"].reindex(label).to_numpy())
    else:
        found = sorted(set(dose[treated]))
        for wanted in params.held_out:
            if wanted not in found:
                raise ConfigError(
                    f"unseen_dose: held_out names the dose {wanted:g}, but treated cells have {_listed(found)}"
                )
        held = treated & np.isin(dose, params.held_out)
        lost = sorted(set(label[held]) - set(label[treated & ~held]))
        if lost:
            raise ConfigError(
                f"unseen_dose: held_out leaves the perturbation {lost[0]!r} at no dose to train on; keep one of its "
                f"doses {_listed(sorted(set(dose[label == lost[0]])))}"
            )
    return pd.Series(held, index=adata.obs_names)


def _doses(adata: ad.AnnData, treated: np.ndarray) -> "pd.Series[float]":
    if "dose" not in adata.obs:
        raise ConfigError("unseen_dose: the data have no doses (obs['dose']); choose another split")
    dose: pd.Series[float] = pd.to_numeric(adata.obs["dose"].astype(str), errors="coerce")
    if dose[treated].isna().any():
        odd = adata.obs["dose"].astype(str)[treated & dose.isna().to_numpy()].iloc[0]
        raise ConfigError(f"unseen_dose: the dose of every treated cell must be a number, found {odd!r}")
    return dose


def _listed(doses: list[float]) -> str:
    return ", ".join(f"{dose:g}" for dose in doses)
