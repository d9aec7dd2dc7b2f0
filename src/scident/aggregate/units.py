"""From score rows to one number per unit: seeds are averaged inside a replicate before anything else."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

KEYS = ["dataset", "split", "scope", "model", "grid_point", "metric", "variant"]

SELECTED = "(selected)"
"""Grid point name of rows that follow each replicate's selected grid point; no configured name has brackets."""

FLOOR_MODELS = ("random_encoder", "random_projection", "label_only", "untrained")
STABILITY_FLOOR = ("untrained",)
RESPONSE_FLOOR = ("no_change", "training_mean", "context_mean", "additive")
CEILING_MODEL = "oracle_noisy"
RESPONSE_CEILING = "half_split"
PREDICTED = ("", "counterfactual")
"""Kinds of prediction that stand for a model, the first it gives: never one that reads the scored cells."""


def describe_status(statuses: Iterable[str], reasons: Iterable[str]) -> tuple[str, str]:
    """Return one status and reason for several rows: ok if any is, else failed if any is, else not applicable.

    The reason holds the merged notes of the successes and, after ``failed:``, why the others failed.
    """
    said: dict[str, list[str]] = {}
    for one, reason in zip(statuses, reasons, strict=True):
        said.setdefault(one, []).append(reason)
    status = next(s for s in ("ok", "failed", "not_applicable") if s in said)
    if status != "ok":
        return status, ";".join(sorted(set(said[status]) - {""}))
    merged = merge_notes(said["ok"])
    lost = "failed:" + ",".join(sorted(set(said["failed"]) - {""})) if "failed" in said else ""
    return status, ";".join(part for part in (merged, lost) if part)


def notes_of(reason: str) -> dict[str, str]:
    """Read the ``name=value`` notes of a successful row's reason; a bare word is its own name with an empty value."""
    parts = [part.strip().partition("=") for part in re.split(r"(?:^|;)failed:", reason)[0].split(",")]
    return {name: value for name, _, value in parts if name}


def merge_notes(reasons: Sequence[str]) -> str:
    """Merge the notes of several rows: numbers are averaged over the rows that have them, words are listed."""
    found: dict[str, list[str]] = {}
    for reason in filter(None, reasons):
        for name, value in notes_of(reason).items():
            found.setdefault(name, []).append(value)
    return ", ".join(f"{name}={_merged(values)}" if any(values) else name for name, values in found.items())


def _merged(values: Sequence[str]) -> str:
    try:
        return f"{np.mean([float(value) for value in values]):.4g}"
    except ValueError:
        return "/".join(sorted(set(values)))


def per_unit(scores: pd.DataFrame) -> pd.DataFrame:
    """Average the seeds of each replicate.

    Parameters
    ----------
    scores
        Contract ``scores``; rows of single perturbations are left out.

    Returns
    -------
    Columns `KEYS`, replicate, value (mean of the successful seeds, null if none), n_ok, n_failed.
    """
    rows = scores[scores["perturbation"].isna()]
    counted = rows.assign(
        value=rows["value"].where(rows["status"] == "ok"),
        n_ok=rows["status"] == "ok",
        n_failed=rows["status"] == "failed",
    )
    grouped = counted.groupby([*KEYS, "replicate"], sort=True, as_index=False)
    return grouped.agg(value=("value", "mean"), n_ok=("n_ok", "sum"), n_failed=("n_failed", "sum"))


def entries_of(plan: Mapping[str, Any], use: str) -> list[str]:
    """Return the metrics of the plan that one plug-in file computes, under the names of their entries."""
    return [name for name, declared in plan["metrics"].items() if declared["use"] == use]


def at_selection(scores: pd.DataFrame, selected: pd.DataFrame) -> pd.DataFrame:
    """Return the score rows of the grid points that the benchmark's own rule selected.

    Models that had a choice get the grid point name `SELECTED`, because the choice may differ between replicates.
    """
    place = ["dataset", "split", "model", "replicate", "grid_point"]
    chosen = scores.merge(selected.loc[selected["default"], [*place, "n_points"]], on=place, how="inner")
    chosen["grid_point"] = chosen["grid_point"].where(chosen["n_points"] == 1, SELECTED)
    return chosen.drop(columns="n_points")


def predicts(plan: Mapping[str, Any], metric: str) -> bool:
    """Whether a metric reads predictions."""
    return "predictions" in plan["metrics"][metric].get("needs", ())


def floor_entries(plan: Mapping[str, Any], metric: str) -> list[str]:
    """Return the model entries whose best mean is the floor of a metric.

    That is the untrained model for seed stability, and for response prediction the best answer that needs no model.
    """
    declared = plan["metrics"][metric]
    uses = STABILITY_FLOOR if declared["over"] == "seeds" else FLOOR_MODELS
    uses = RESPONSE_FLOOR if predicts(plan, metric) else uses
    return [name for name, model in plan["models"].items() if model["use"] in uses]


def floor_model(means: "pd.Series[float]", plan: Mapping[str, Any], metric: str) -> str | None:
    """Return the floor entry with the best mean, or None where none has a value or the metric has no direction.

    Parameters
    ----------
    means
        Mean per model entry, indexed by its name; missing and null entries are passed over.
    plan
        The benchmark's plan.
    metric
        Name of the metric entry.
    """
    better = plan["metrics"][metric]["better"]
    known = means.reindex(floor_entries(plan, metric)).dropna()
    if known.empty or better not in {"higher", "lower"}:
        return None
    return str(known.idxmax() if better == "higher" else known.idxmin())


def ceiling(means: "pd.Series[float]", plan: Mapping[str, Any], metric: str) -> float:
    """Return what no model should beat, NaN where nothing says (arguments as `floor_model`).

    The mean of the noisy oracle, of the half split for response prediction, 1 for seed stability.
    """
    declared = plan["metrics"][metric]
    if declared["over"] == "seeds":
        return 1.0 if declared["better"] == "higher" else np.nan
    use = RESPONSE_CEILING if predicts(plan, metric) else CEILING_MODEL
    entries = [name for name, model in plan["models"].items() if model["use"] == use]
    known = means.reindex(entries).dropna()
    return float(known.iloc[0]) if len(known) else np.nan
