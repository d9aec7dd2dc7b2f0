"""Which grid point each rule chooses; rules see neither truth nor held-out cells, and what that cost is the regret."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from scident import selection
from scident.aggregate.units import entries_of
from scident.metrics.base import SCOPES_OF_PROTOCOL

ORACLE = "mcc_pearson"
TRUTHS = (ORACLE, "target_f1")
"""Plug-in files of metrics that know the truth: shown beside the criteria, never chosen by."""

FIRST = "first"
"""Stands for a rule where none applies."""


@dataclass(frozen=True)
class Grid:
    """The grid of one dataset, split, model and replicate: what is known of each of its points, means over seeds."""

    place: tuple[str, str, str, int]
    points: list[str]
    criteria: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """Criterion -> grid point -> value."""
    truths: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """One of `TRUTHS` -> grid point -> value on the scope that latents are matched on."""


def grids(scores: pd.DataFrame, curves: pd.DataFrame, plan: Mapping[str, Any]) -> list[Grid]:
    """Gather what each rule and the oracle look at.

    Parameters
    ----------
    scores, curves
        Contracts ``scores`` and ``curves``. Criteria stand in the rows of phase ``select`` of the training histories;
        where a history has none, ``val_nelbo`` is the metric ``nelbo`` on validation cells.
    plan
        The benchmark's plan.

    Returns
    -------
    One grid per dataset, split, model and replicate, models with a single point included.
    """
    ok = scores[scores["perturbation"].isna() & (scores["status"] == "ok")]
    place = ["dataset", "split", "model", "replicate", "grid_point", "scope", "metric", "variant"]
    means = _by_key(ok.groupby(place)["value"].mean())
    judged = _judged(curves)
    shown = {use: next(iter(entries_of(plan, use)), None) for use in (*TRUTHS, "nelbo")}
    found = []
    for run in plan["runs"]:
        scope = SCOPES_OF_PROTOCOL[plan["splits"][run["split"]]["protocol"]][0]
        for replicate in run["replicates"]:
            grid = Grid((run["dataset"], run["split"], run["model"], replicate), run["grid_points"])
            for index, point in enumerate(grid.points):
                for criterion, value in judged.get((*grid.place, index), {}).items():
                    grid.criteria[criterion][point] = value
                for use in TRUTHS:
                    variant = plan["metrics"][shown[use]]["variants"][0] if shown[use] else ""
                    if (key := (*grid.place, point, scope, shown[use], variant)) in means:
                        grid.truths[use][point] = means[key]
            if "val_nelbo" not in grid.criteria:
                keys = {point: (*grid.place, point, "val", shown["nelbo"], "") for point in grid.points}
                grid.criteria["val_nelbo"] |= {point: means[key] for point, key in keys.items() if key in means}
            found.append(grid)
    return found


def _judged(curves: pd.DataFrame) -> dict[tuple[object, ...], dict[str, float]]:
    """Return (dataset, split, model, replicate, number of the grid point) -> criterion -> mean over seeds."""
    rows = curves[(curves["phase"] == "select") & curves["value"].notna()]
    rows = rows[rows["quantity"].isin(list(selection.LOWER_IS_BETTER))]
    number = rows["member"].str.extract(r"^r(?P<replicate>\d+)\.g(?P<point>\d+)\.").astype(int)
    keys = [rows["dataset"], rows["split"], rows["model"], number["replicate"], number["point"], rows["quantity"]]
    found: dict[tuple[object, ...], dict[str, float]] = defaultdict(dict)
    for key, value in _by_key(rows["value"].groupby(keys).mean()).items():
        found[key[:-1]][str(key[-1])] = value
    return found


def _by_key(means: "pd.Series[float]") -> dict[tuple[object, ...], float]:
    return {tuple(key): float(value) for key, value in means.items()}  # type: ignore[arg-type]  # a MultiIndex key


def select(found: list[Grid], plan: Mapping[str, Any]) -> pd.DataFrame:
    """Let every rule that applies choose a grid point.

    Parameters
    ----------
    found
        As `grids` returns them.
    plan
        The benchmark's plan; ``config.selection`` names the rule the benchmark follows.

    Returns
    -------
    Contract ``selected``. ``rule`` is one of `selection.RULES`, ``only`` (one grid point) or ``first`` (no rule
    applies); ``score`` what the rule minimises, at its choice; ``regret`` the MCC lost against the grid point an oracle
    would choose (0 is best), ``regret_f1`` the target F1 lost likewise, ``range`` the best minus the worst MCC of the
    grid, all three null without truth; ``default`` marks the one row per grid that the benchmark follows: the
    configured rule, or the first of the others that applies.
    """
    wanted = str(plan["config"]["selection"])
    return pd.DataFrame([row for grid in found for row in _rows(grid, wanted)])


def _rows(grid: Grid, wanted: str) -> list[dict[str, object]]:
    if len(grid.points) == 1:
        return [_row(grid, selection.ONLY, grid.points[0], np.nan, default=True)]
    default = selection.applicable(wanted, grid.criteria, grid.points)
    if default is None:
        return [_row(grid, FIRST, grid.points[0], np.nan, default=True)]
    rows = []
    for rule in selection.RULES:
        if selection.known(rule, grid.criteria, grid.points):
            point = selection.choose(rule, grid.criteria, grid.points)
            score = selection.scores(rule, grid.criteria, grid.points)[point]
            rows.append(_row(grid, rule, point, score, default=rule == default))
    return rows


def _row(grid: Grid, rule: str, point: str, score: float, *, default: bool) -> dict[str, object]:
    dataset, split, model, replicate = grid.place
    mcc, f1 = (grid.truths.get(use, {}) for use in TRUTHS)
    return {
        "dataset": dataset,
        "split": split,
        "model": model,
        "rule": rule,
        "replicate": replicate,
        "grid_point": point,
        "score": score,
        "regret": max(mcc.values()) - mcc[point] if point in mcc else np.nan,
        "regret_f1": max(f1.values()) - f1[point] if point in f1 else np.nan,
        "range": max(mcc.values()) - min(mcc.values()) if mcc else np.nan,
        "default": default,
        "n_points": len(grid.points),
    }


def curve(found: list[Grid]) -> pd.DataFrame:
    """Return contract ``grid``: every criterion, and what the truth says, at each point of grids with a choice."""
    keys = ("dataset", "split", "model", "replicate")
    return pd.DataFrame(
        [
            dict(zip(keys, grid.place, strict=True)) | {"grid_point": point, "criterion": name, "value": known[point]}
            for grid in found
            if len(grid.points) > 1
            for name, known in (grid.criteria | grid.truths).items()
            for point in grid.points
            if point in known
        ]
    )
