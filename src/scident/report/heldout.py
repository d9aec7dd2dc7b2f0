"""Held-out perturbations: bounds on the likelihood before and after fitting, and paired with the reference model."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from scident.aggregate.differences import BEFORE, BOUNDS
from scident.aggregate.units import entries_of
from scident.info import HELDOUT_PROTOCOLS
from scident.metrics.base import FITTED_UNDER
from scident.report import style
from scident.report.tables import to_html
from scident.report.view import Place, Plan, Tables, shown_points

FITTED = {
    "finetuned_half": "After: its shift is fitted to half of its cells, the other half is scored, nothing else moves.",
    "finetuned_insample": "After: its shift is fitted to the very cells that are scored, as published code does "
    "(optimistic). Meanwhile dropout is on and batches of cells are normalised by their own statistics; for every "
    "model but sVAE+ the running statistics of the encoder move too, so that it encodes all cells differently.",
}
"""What happened to a held-out perturbation, in words."""

Cells = Mapping[tuple[str, str], Mapping[Hashable, Any]]
"""(model, variant) -> row of the summary."""


@dataclass(frozen=True)
class Bound:
    """One bound of all models in one place."""

    label: str
    better: str
    fitted: bool
    """Whether some model was fitted to held-out perturbations."""
    table: Markup
    absent: list[tuple[str, str]]
    """(models, why) of those without a value."""


def bounds(plan: Plan, found: Tables, dataset: str, split: str, models: list[str]) -> list[Bound]:
    """Return each bound that some model has on held-out perturbations.

    Parameters
    ----------
    plan, found
        The benchmark's plan and tables.
    dataset, split
        Where.
    models
        All models, in reading order.
    """
    place = Place(dataset, split, "ood")
    after = fitted_as(plan, split)
    summary = place.of(shown_points(found.summary, plan))
    summary = summary[summary["variant"].isin([BEFORE, after])]
    shown = []
    for metric in (name for use in BOUNDS for name in entries_of(plan, use)):
        rows = summary[summary["metric"] == metric]
        if not (rows["status"] == "ok").any():
            continue
        cells = {(str(r["model"]), str(r["variant"])): r for r in rows.to_dict("records")}
        differences = place.of(found.differences)
        differences = differences[(differences["metric"] == metric) & differences["perturbation"].isna()]
        declared = plan["metrics"][metric]
        name = f"heldout-{place.slug}-{metric}"
        fitted = bool((rows.loc[rows["variant"] == after, "status"] == "ok").any())
        known = [model for model in models if (model, BEFORE) in cells]
        table, present = _table(plan, cells, differences, known, name, after if fitted else None)
        absent = _absent(plan, cells, [m for m in models if m not in present])
        shown.append(Bound(declared["label"], declared["better"], fitted, table, absent))
    return shown


def fitted_as(plan: Plan, split: str) -> str:
    """Return the variant of models that were fitted to held-out perturbations under a split."""
    return FITTED_UNDER[plan["splits"][split]["protocol"]]


def _table(
    plan: Plan, cells: Cells, differences: pd.DataFrame, models: list[str], name: str, after: str | None
) -> tuple[Markup, list[str]]:
    """Return the table and the models in it; `after` is None where nothing was fitted."""
    variants = [BEFORE] if after is None else [BEFORE, after]
    between = differences[differences["model"] != differences["reference"]]
    within = differences[(differences["model"] == differences["reference"]) & (differences["variant"] == after)]
    with_fitted = (between["variant"] == after) | (between["reference_variant"] == after)
    against = {"before": between[~with_fitted], "after": between[with_fitted]}
    against = {when: pairs for when, pairs in against.items() if len(pairs)}
    rows, present = [], []
    for model in models:
        sides = [cells[model, variant] for variant in variants if (model, variant) in cells]
        if all(side["status"] == "not_applicable" for side in sides):
            continue
        present.append(model)
        role, label = plan["models"][model]["role"], plan["models"][model]["label"]
        row = {"model": Markup("<i class='dot {}'></i>{}").format(role, label), "before": _level(cells[model, BEFORE])}
        if after is not None:
            row["after"] = _level(cells.get((model, after)))
            row["gain"] = _difference(within[within["model"] == model])
        for when, pairs in against.items():
            own = pairs[pairs["model"] == model]
            row[f"against.{when}"] = Markup("reference") if model in set(pairs["reference"]) else _difference(own)
        rows.append(row)
    labels = {"model": "Model", "before": "Before fitting", "after": "After fitting", "gain": "Gained by fitting"}
    for when, pairs in against.items():
        reference = plan["models"][pairs["reference"].iloc[0]]["label"]
        note = f"{when} fitting"
        if when == "after" and set(pairs["reference_variant"]) == {BEFORE}:
            note += ", itself with nothing to fit"
        labels[f"against.{when}"] = Markup("Minus {}<small>{}</small>").format(reference, note)
    frame = pd.DataFrame(rows)
    return to_html(frame, name, {column: labels[column] for column in frame.columns}), present


def _level(record: Mapping[Hashable, Any] | None) -> Markup:
    if record is None:
        return Markup("")
    if record["status"] == "ok":
        lost = record["n_total"] - record["n_ok"]
        small = Markup("<small>{}/{} ok</small>").format(record["n_ok"], record["n_total"]) if lost else Markup("")
        return Markup("{}{}").format(style.number(record["mean"]), small)
    word = "failed" if record["status"] == "failed" else "n/a"
    reason = str(record["reason"]).replace("_", " ")
    return Markup("<span class='{}'>{}<small>{}</small></span>").format(record["status"], word, reason)


def _difference(rows: pd.DataFrame) -> Markup:
    if rows.empty:
        return Markup("")
    row = rows.iloc[0]
    known = pd.notna(row["low"])
    small = style.signed_interval(row["low"], row["high"]) if known else "one replicate"
    return Markup("{}<small>{}</small>").format(style.signed(row["difference"]), small)


def _absent(plan: Plan, cells: Cells, models: list[str]) -> list[tuple[str, str]]:
    """Group the models without any value by the reason."""
    found: dict[str, list[str]] = {}
    for model in models:
        reasons = [str(cells[key]["reason"]) for key in ((model, v) for v in HELDOUT_PROTOCOLS) if key in cells]
        if reasons:
            found.setdefault(style.explain(reasons[0]), []).append(plan["models"][model]["label"])
    return [(", ".join(labels), why) for why, labels in found.items()]
