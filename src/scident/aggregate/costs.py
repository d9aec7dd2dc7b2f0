"""What every job cost: its own account in ``status.json``, and the workflow's ``benchmark:`` file beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scident import contracts, io
from scident.aggregate.collect import shard_folders

QUANTITIES = ("wall_s", "cpu_s", "peak_rss_mb", "cells_per_s", "n_params")
MODEL_STAGES = ("train", "infer")
PLACE = ("stage", "dataset", "split", "model", "shard")

Place = tuple[str, str, str, str, int]


def collect_costs(plan: Mapping[str, Any], results: Path, benchmarks: Path | None = None) -> pd.DataFrame:
    """Gather the costs of all jobs.

    Parameters
    ----------
    plan
        The benchmark's plan.
    results
        Root of the result folders.
    benchmarks
        Folder of the workflow's benchmark files; none if the stages were run by hand. Files of jobs that are not in
        the plan, which another configuration left behind, are passed over.

    Returns
    -------
    Contract ``costs``: seconds of wall clock and CPU, peak resident memory in MB (the larger of the two accounts),
    training cells per second, number of parameters. A job without a readable ``status.json`` is ``failed``. The
    ``shard`` of a data job is its replicate.
    """
    rows = []
    for run in plan["runs"]:
        for stage in MODEL_STAGES:
            for shard, folder in enumerate(shard_folders(results, stage, run)):
                rows.append(_job(stage, run, shard, folder / "status.json"))
    measured = {place: costs for place, path in _files(plan).items() if (costs := _measured(benchmarks, path))}
    for row in rows:
        job = (row["stage"], row["dataset"], row["split"], row["model"], row["shard"])
        _merge(row, measured.pop(job, {}))
    for place, costs in measured.items():
        blank = dict.fromkeys(QUANTITIES, np.nan)
        rows.append({**dict(zip(PLACE, place, strict=True)), "members": 0, "status": "ok", **blank, **costs})
    table = pd.DataFrame(rows) if rows else io.empty_table("costs")
    return contracts.check_table(table[list(contracts.TABLES["costs"].columns)], "costs")


def _job(stage: str, run: Mapping[str, Any], shard: int, path: Path) -> dict[str, Any]:
    try:
        status = io.read_json(path)
    except (OSError, json.JSONDecodeError):
        status = {}
    costs = status.get("costs") or {}
    return {
        "stage": stage,
        "dataset": run["dataset"],
        "split": run["split"],
        "model": run["model"],
        "shard": shard,
        "members": len(status.get("members") or {}),
        "status": status.get("status", "failed"),
        **{name: np.nan if costs.get(name) is None else float(costs[name]) for name in QUANTITIES},
    }


def _merge(row: dict[str, Any], costs: Mapping[str, float]) -> None:
    for name, value in costs.items():
        own = row[name]
        # The job cannot see the memory of what started it, the workflow's sampling can miss a short peak.
        row[name] = value if np.isnan(own) else max(own, value) if name == "peak_rss_mb" else own


def _files(plan: Mapping[str, Any]) -> dict[Place, str]:
    """Return where the workflow leaves the account of each job of the plan, in the order of the stages."""
    found: dict[Place, str] = {}
    for run in plan["runs"]:
        dataset, split = run["dataset"], run["split"]
        found |= {("data", dataset, "", "", r): f"data/{dataset}/r{r}" for r in run["replicates"]}
        found["split", dataset, split, "", 0] = f"split/{dataset}/{split}"
    for stage in (*MODEL_STAGES, "score"):
        for run in (run for run in plan["runs"] if not run["skipped"]):
            place = (run["dataset"], run["split"], run["model"])
            folder = "/".join((stage, *place))
            if stage == "score":
                found[(stage, *place, 0)] = folder
            else:
                found |= {(stage, *place, shard): f"{folder}/s{shard}" for shard in range(run["shards"])}
    return found


def _measured(benchmarks: Path | None, name: str) -> dict[str, float]:
    """Return what the workflow measured of one job; nothing where it left no file."""
    if benchmarks is None or not (path := benchmarks / f"{name}.tsv").is_file():
        return {}
    table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
    if table.empty:
        return {}
    columns = {"wall_s": table.get("s"), "cpu_s": table.get("cpu_time"), "peak_rss_mb": table.get("max_rss")}
    return {name: float(column.iloc[-1]) for name, column in columns.items() if column is not None}
