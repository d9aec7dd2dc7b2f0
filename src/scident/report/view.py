"""What the report shows, picked from the aggregate tables: the headline of each dataset, split and scope."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from scident import io
from scident.aggregate.intervals import SEED_SD, SEED_SE, T_OVER_REPLICATES
from scident.aggregate.units import (
    CEILING_MODEL,
    PREDICTED,
    RESPONSE_CEILING,
    SELECTED,
    at_selection,
    ceiling,
    entries_of,
    floor_entries,
    floor_model,
    per_unit,
    predicts,
)
from scident.info import HELDOUT_PROTOCOLS
from scident.metrics.base import SCOPES_OF_PROTOCOL
from scident.report import style

Plan = Mapping[str, Any]


@dataclass(frozen=True)
class Tables:
    """The aggregate tables."""

    scores: pd.DataFrame
    summary: pd.DataFrame
    ranks: pd.DataFrame
    selected: pd.DataFrame
    costs: pd.DataFrame
    aligned: pd.DataFrame
    curves: pd.DataFrame
    grid: pd.DataFrame
    differences: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "Tables":
        """Read the tables that the aggregate stage wrote to `folder`."""
        names = cls.__dataclass_fields__
        return cls(**{name: io.read_table(folder / f"{name}.parquet", name) for name in names})


@dataclass(frozen=True)
class Place:
    """One dataset, split and scope."""

    dataset: str
    split: str
    scope: str

    @property
    def slug(self) -> str:
        """A name for files and ids."""
        return "-".join((self.dataset, self.split, self.scope))

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows of this place."""
        same = (frame["dataset"] == self.dataset) & (frame["split"] == self.split)
        return frame[same & (frame["scope"] == self.scope)] if "scope" in frame else frame[same]


@dataclass(frozen=True)
class Row:
    """One model in the headline figure."""

    model: str
    label: str
    role: str
    mean: float
    low: float
    high: float
    dots: Float[np.ndarray, " units"]
    """Mean over seeds of each replicate."""
    status: str
    reason: str
    n_ok: int
    n_total: int


@dataclass(frozen=True)
class Headline:
    """The headline metric of a place: every model's value between floor and ceiling."""

    place: Place
    metric: str
    label: str
    better: str
    range: tuple[float, float]
    """Lowest and highest possible value."""
    rows: tuple[Row, ...]
    floor: float
    floor_model: str | None
    floor_label: str
    ceiling: float
    units: int
    seeds: int
    interval: str
    """Name of the interval most rows have."""

    @property
    def caption(self) -> str:
        """What the marks of the figure are."""
        if self.units == 0:
            return "No model has a result."
        size = f"n = {style.plural(self.units, 'replicate')} × {style.plural(self.seeds, 'seed')}."
        if self.units > 1:
            how = "t interval" if self.interval == T_OVER_REPLICATES else self.interval
            return f"{size} Coloured: mean and 95 % interval ({how}). Grey dots: replicates."
        spread = {SEED_SD: "mean ± sd over seeds", SEED_SE: "mean ± jackknife standard error over seeds"}
        return f"{size} Seeds only: {spread.get(self.interval, 'single values')}; no ranking claim."

    def row(self, model: str) -> Row:
        """Return the row of a model."""
        return next(row for row in self.rows if row.model == model)


RESPONSES = ("pref_delta_pearson", "nmse_corrected", "delta_pearson")
"""Metrics of predicted responses (files), the one to be read first at the front (metrics.md §2f)."""


def headline_metrics(plan: Plan, place: Place) -> list[str]:
    """Return the metrics that may be the headline of a place, in order of preference.

    With truth it is an MCC, that of claimed latents where they have blocks. Without, what was observed of responses is
    the truth; on seen conditions the agreement of seeds comes before it; then any configured metric with a direction.
    """
    data = plan["datasets"][place.dataset]
    directed = [name for name, metric in plan["metrics"].items() if metric["better"] in {"higher", "lower"}]
    if data["has_truth"]:
        claimed = entries_of(plan, "mcc_interaction") if data["has_blocks"] else []
        preferred = [*claimed, *entries_of(plan, "mcc_pearson"), *directed]
        return [name for name in preferred if name in directed][:1]
    agreement = [] if place.scope == "ood" else entries_of(plan, "seed_mcc")
    preferred = agreement + [name for use in RESPONSES for name in entries_of(plan, use)]
    rest = [name for name in directed if "truth" not in plan["metrics"][name]["needs"]]
    return list(dict.fromkeys([*preferred, *rest]))


def headline_variant(plan: Plan, metric: str, scope: str) -> str:
    """Return the variant of a metric that stands for it on a scope: the first one with rows there."""
    variants = plan["metrics"][metric]["variants"]
    protocols = [variant for variant in variants if variant in HELDOUT_PROTOCOLS]
    return str(protocols[0] if scope == "ood" and protocols else variants[0])


def scopes_of(plan: Plan, split: str) -> tuple[str, ...]:
    """Return the scopes shown for a split, in reading order."""
    return SCOPES_OF_PROTOCOL[plan["splits"][split]["protocol"]][:2]


def pairs(plan: Plan) -> list[tuple[str, str]]:
    """Return every dataset and split that has runs, in the plan's order."""
    return list(dict.fromkeys((run["dataset"], run["split"]) for run in plan["runs"]))


def places(plan: Plan) -> list[Place]:
    """Return every dataset, split and shown scope."""
    return [Place(d, s, scope) for d, s in pairs(plan) for scope in scopes_of(plan, s)]


def shown_points(summary: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Keep one row per model: its only grid point, or the selected one."""
    several = summary["model"].map(lambda m: len(plan["models"][m]["grid_points"]) > 1)
    return summary[~several | (summary["grid_point"] == SELECTED)]


def headline(plan: Plan, tables: Tables, place: Place) -> Headline | None:
    """Gather the headline of a place: the first metric that compares models; None where none does."""
    summary = place.of(shown_points(tables.summary, plan))
    for metric in headline_metrics(plan, place):
        found = summary[(summary["metric"] == metric) & (summary["status"] != "not_applicable")]
        found = _one_each(found, plan, metric, place.scope)
        if _compares(plan, found, metric, place):
            return _headline(plan, tables, place, metric, found)
    return None


def _compares(plan: Plan, found: pd.DataFrame, metric: str, place: Place) -> bool:
    """Whether a metric says something of a model here: without truth, not of baselines alone, nor in several units."""
    if found.empty or plan["datasets"][place.dataset]["has_truth"]:
        return not found.empty
    if predicts(plan, metric):
        trivial = {*floor_entries(plan, metric), *(name for name in plan["models"] if is_ceiling(plan, name))}
        return not trivial.issuperset(found["model"])
    if "likelihood" in plan["metrics"][metric]["needs"]:
        return found["model"].map(lambda name: plan["models"][name].get("likelihood")).nunique() == 1
    return True


def _headline(plan: Plan, tables: Tables, place: Place, metric: str, found: pd.DataFrame) -> Headline:
    scores = tables.scores[tables.scores["metric"] == metric]
    scores = scores[scores["variant"] == scores["model"].map(found.set_index("model")["variant"])]
    units = per_unit(at_selection(place.of(scores), tables.selected))
    rows = [_row(plan, record, units) for record in found.to_dict("records")]
    better = plan["metrics"][metric]["better"]
    means = found.set_index("model")["mean"]
    floor = floor_model(means, plan, metric)
    intervals = found.loc[found["status"] == "ok", "interval"]
    run = next(r for r in plan["runs"] if (r["dataset"], r["split"]) == (place.dataset, place.split))
    return Headline(
        place=place,
        metric=metric,
        label=plan["metrics"][metric]["label"],
        better=better,
        range=tuple(plan["metrics"][metric]["range"]),
        rows=tuple(sorted(rows, key=lambda row: _order(row, better))),
        floor=float(means[floor]) if floor is not None else np.nan,
        floor_model=floor,
        floor_label=plan["models"][floor]["label"] if floor is not None else "",
        ceiling=ceiling(means, plan, metric),
        units=int(found["units"].max()),
        seeds=len(run["seeds"]),
        interval=str(intervals.mode().iloc[0]) if len(intervals) else "none",
    )


def _one_each(found: pd.DataFrame, plan: Plan, metric: str, scope: str) -> pd.DataFrame:
    """Return one row of a metric per model: the variant that stands for it, of predictions the first of `PREDICTED`."""
    predicted = "predictions" in plan["metrics"][metric]["needs"]
    stands = PREDICTED if predicted else (headline_variant(plan, metric, scope),)
    found = found[found["variant"].isin(stands)]
    order = found["variant"].map(stands.index)
    return found.loc[order.sort_values(kind="stable").index].drop_duplicates("model")


def order_of_models(plan: Plan, head: Headline | None) -> list[str]:
    """Return all models by role and then by the headline, or by the plan where there is none."""
    ranked = [row.model for row in head.rows] if head else []
    roles = list(style.ROLES)
    by_role = sorted(plan["models"], key=lambda m: roles.index(plan["models"][m]["role"]))
    return sorted(
        by_role, key=lambda m: (roles.index(plan["models"][m]["role"]), ranked.index(m) if m in ranked else 0)
    )


def is_ceiling(plan: Plan, model: str) -> bool:
    """Whether a model entry sets a ceiling, of latents or of predictions."""
    return bool(plan["models"][model]["use"] in {CEILING_MODEL, RESPONSE_CEILING})


def _row(plan: Plan, record: dict[Any, Any], units: pd.DataFrame) -> Row:
    model = record["model"]
    return Row(
        model=model,
        label=plan["models"][model]["label"],
        role=plan["models"][model]["role"],
        mean=record["mean"],
        low=record["low"],
        high=record["high"],
        dots=units.loc[(units["model"] == model) & units["value"].notna(), "value"].to_numpy(dtype=float),
        status=record["status"],
        reason=record["reason"],
        n_ok=record["n_ok"],
        n_total=record["n_total"],
    )


def _order(row: Row, better: str) -> tuple[int, float, str]:
    worst = np.inf
    value = worst if np.isnan(row.mean) else -row.mean if better == "higher" else row.mean
    return list(style.ROLES).index(row.role), value, row.label
