"""Paired differences between a variant and the model it varies, and between predictions and the additive ones."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from scident.aggregate.intervals import t_interval
from scident.info import HELDOUT_PROTOCOLS

PLACE = ["dataset", "split", "scope", "metric"]

ADDITIVE = "additive"
"""Plug-in file of the predictions that others are compared with: control plus effects seen in other contexts."""

PANEL = "de50"
"""What the variants on the genes that change most end in."""

RECONSTRUCTION = "reconstruction"
"""The kind that is no prediction."""

REPLICATE = "replicate"


def contrasts(units: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Pair models over replicates, seeds averaged first.

    An entry is paired with the one it names (``compared_with``), or, where it names none, with the first entry of the
    file that it ablates (``ModelInfo.of``) or shares; variant by variant. Every kind of prediction is paired with that
    of the additive baseline; a reconstruction, which reads the scored cells, is none. Likelihoods of held-out
    perturbations are left to `differences`, whose reference they have.

    Parameters
    ----------
    units
        `units.per_unit` of each model at its selected grid point.
    plan
        The benchmark's plan.

    Returns
    -------
    Contract ``differences``, in the metric's unit, none of single perturbations: ``difference`` is the mean over
    replicates of model minus reference, ``low`` and ``high`` its t interval, null for a single replicate.
    """
    known = units[units["value"].notna() & ~units["variant"].isin(HELDOUT_PROTOCOLS)]
    rows = []
    for place, block in known.groupby(PLACE, sort=True):
        sides = {
            (str(m), str(v)): part.set_index(REPLICATE)["value"] for (m, v), part in block.groupby(["model", "variant"])
        }
        predicted = "predictions" in plan["metrics"][place[3]]["needs"]
        for one, other in _pairs(sides, plan, predicted=predicted):
            paired = (sides[one] - sides[other]).dropna().to_numpy(dtype=float)
            if len(paired):
                rows.append(dict(zip(PLACE, place, strict=True)) | _compared(one, other, paired))
    return pd.DataFrame(rows)


Side = tuple[str, str]
"""(model, variant)."""


def _pairs(
    sides: Mapping[Side, "pd.Series[float]"], plan: Mapping[str, Any], *, predicted: bool
) -> Iterator[tuple[Side, Side]]:
    bases = bases_of(plan)
    additive = next((name for name, model in plan["models"].items() if model["use"] == ADDITIVE), None)
    for model, variant in sides:
        others = [(bases[model], variant)] if model in bases else []
        if predicted and additive and model != additive and not variant.startswith(RECONSTRUCTION):
            others.append((additive, PANEL if variant.endswith(PANEL) else ""))
        yield from (((model, variant), other) for other in dict.fromkeys(others) if other in sides)


def bases_of(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return the entry each variant is paired with: what it names, else the first of the file it ablates or shares."""
    first: dict[str, str] = {}
    for name, model in plan["models"].items():
        first.setdefault(model["use"], name)
    found = {name: first.get(model["of"], first[model["use"]]) for name, model in plan["models"].items()}
    named = {name: entry["compared_with"] for name, entry in plan["config"]["models"].items()}
    found |= {name: base for name, base in named.items() if base}
    return {name: base for name, base in found.items() if base != name}


def _compared(one: Side, other: Side, paired: Float[np.ndarray, " units"]) -> dict[str, object]:
    low, high = t_interval(paired) if len(paired) > 1 else (np.nan, np.nan)
    names = {"model": one[0], "variant": one[1], "reference": other[0], "reference_variant": other[1]}
    sums = {"units": len(paired), "difference": float(paired.mean()), "low": low, "high": high}
    return {**names, "perturbation": None, **sums}
