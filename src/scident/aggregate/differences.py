"""Paired differences of bounds on the likelihood, the only form in which they compare (metrics.md §2e).

Absolute values differ between replicates by many nats, differences between models on the same cells by few.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from scident.aggregate.intervals import t_interval
from scident.aggregate.units import entries_of

BOUNDS = ("iwelbo", "nelbo")
"""Plug-in files of the metrics whose differences are taken."""

REFERENCES = ("cond_vae", "sams_vae", "ivae_fixed", "ivae_released", "vae")
"""Plug-in files of the models that others are compared with: the first that has values takes the part."""

BEFORE = "zero_shot"
"""Variant of a model that nothing was fitted for."""

SCOPES = ("iid", "ood", "insample")
PLACE = ["dataset", "split", "scope", "metric"]


@dataclass(frozen=True)
class _Side:
    """What stands on one side of a difference."""

    model: str
    variant: str
    values: "pd.Series[float]"
    """Mean over seeds, by replicate and perturbation."""


def differences(chosen: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Pair each model with the reference, and each fitted model with itself before fitting.

    Seeds are averaged first. The pair is the (replicate, perturbation) where both sides have a value; the unit is the
    replicate. The reference of a variant is the first of `REFERENCES` with values there (of several entries of one
    plug-in, the first in the plan); only models with its observation model are paired with it. A model with nothing to
    fit, the reference too, stands beside fitted ones with its values before fitting.

    Parameters
    ----------
    chosen
        Rows of contract ``scores`` at each model's selected grid point (`units.at_selection`).
    plan
        The benchmark's plan.

    Returns
    -------
    Contract ``differences``, in nats per cell: ``difference`` = model at ``variant`` minus ``reference`` at
    ``reference_variant``, for each perturbation (mean over replicates) and, without one, as the mean over replicates of
    the mean over perturbations; ``low`` and ``high`` the t interval over replicates, null for a single one.
    """
    bounds = [name for use in BOUNDS for name in entries_of(plan, use)]
    rows = chosen[chosen["metric"].isin(bounds) & chosen["scope"].isin(SCOPES)]
    return pd.DataFrame(
        [
            dict(zip(PLACE, key, strict=True)) | row
            for key, block in rows.groupby(PLACE, sort=True)
            for one, other in _pairs(block, plan)
            for row in _compared(one, other)
        ]
    )


def _pairs(block: pd.DataFrame, plan: Mapping[str, Any]) -> Iterator[tuple[_Side, _Side]]:
    singles = block[(block["status"] == "ok") & block["perturbation"].notna()]
    means = singles.groupby(["model", "variant", "replicate", "perturbation"])["value"].mean()
    sides: dict[tuple[str, str], _Side] = {}
    for key, values in means.groupby(level=["model", "variant"]):
        model, variant = map(str, key)  # type: ignore[arg-type]  # two levels
        sides[model, variant] = _Side(model, variant, values.droplevel(["model", "variant"]))
    free = set(block.loc[block["reason"] == "nothing_to_fit", "model"])
    for variant in sorted({v for _, v in sides}):
        known = {m: sides.get((m, variant)) or (sides.get((m, BEFORE)) if m in free else None) for m in plan["models"]}
        there = {model: side for model, side in known.items() if side}
        for reference in _reference(there, plan):
            others = (there[m] for m in there if m != reference.model and _same_family(plan, m, reference.model))
            # two with nothing to fit are paired before fitting alone
            yield from ((side, reference) for side in others if variant in (side.variant, reference.variant))
    for model, variant in product(plan["models"], sorted({v for _, v in sides} - {"", BEFORE})):
        before, after = (sides.get((model, v)) for v in (BEFORE, variant))
        if before and after:
            yield after, before


def _reference(there: Mapping[str, _Side], plan: Mapping[str, Any]) -> list[_Side]:
    """Return the reference, or nothing."""
    wanted = product(REFERENCES, there.items())
    return [side for use, (name, side) in wanted if plan["models"][name]["use"] == use][:1]


def _same_family(plan: Mapping[str, Any], one: str, other: str) -> bool:
    return bool(plan["models"][one]["likelihood"] == plan["models"][other]["likelihood"])


def _compared(one: _Side, other: _Side) -> Iterator[dict[str, object]]:
    paired = (one.values - other.values).dropna()  # replicate and perturbation must be there on both sides
    if paired.empty:
        return
    names = {"model": one.model, "variant": one.variant}
    names |= {"reference": other.model, "reference_variant": other.variant}
    for perturbation, values in paired.groupby(level="perturbation", sort=True):
        yield {**names, "perturbation": perturbation, **_summed(values.to_numpy(dtype=float))}
    yield {**names, "perturbation": None, **_summed(paired.groupby(level="replicate").mean().to_numpy(dtype=float))}


def _summed(units: np.ndarray) -> dict[str, float]:
    low, high = t_interval(units) if len(units) > 1 else (np.nan, np.nan)
    return {"units": len(units), "difference": float(units.mean()), "low": low, "high": high}
