"""What every job cost: its own account in ``status.json``, and the workflow's ``benchmark:`` file beside it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scident import contracts, io
from scident.aggregate.collect import shard_folders

QUANTITIES = ("wall_s", "cpu_s", "peak_rss_mb", "cells_per_s", "n_params")
MODEL_STAGES = ("train", "infer")


def collect_costs(plan: Mapping[str, Any], results: Path, benchmarks: Path | None = None) -> pd.DataFrame:
    """Gather the costs of all jobs.

    Parameters
    ----------
    plan
        The benchmark's plan.
    results
        Root of the result folders.
    benchmarks
        Folder of the workflow's benchmark files, ``{stage}/{dataset}/{split}/{model}/s{shard}.tsv`` or shorter for
        stages before training; none if the stages were run by hand.

    Returns
    -------
    Contract ``costs``: seconds of wall clock and CPU, peak resident memory in MB (the larger of the two accounts),
    training cells per second, number of parameters. A job without a readable ``status.json`` is ``failed``.
    """
    rows = []
    for run in plan["runs"]:
        for stage in MODEL_STAGES:
            for shard, folder in enumerate(shard_folders(results, stage, run)):
                rows.append(_job(stage, run, shard, folder / "status.json"))
    measured = dict(_benchmarks(benchmarks)) if benchmarks is not None and benchmarks.is_dir() else {}
    for row in rows:
        job = (row["stage"], row["dataset"], row["split"], row["model"], row["shard"])
        _merge(row, measured.pop(job, {}))
    places = ("stage", "dataset", "split", "model", "shard")
    for place, costs in sorted(measured.items(), key=lambda item: item[0]):
        blank = dict.fromkeys(QUANTITIES, np.nan)
        rows.append({**dict(zip(places, place, strict=True)), "members": 0, "status": "ok", **blank, **costs})
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


def _benchmarks(root: Path) -> Iterator[tuple[tuple[str, str, str, str, int], dict[str, float]]]:
    for path in sorted(root.rglob("*.tsv")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        last = parts[-1]
        shard = int(last[1:]) if len(parts) == 5 and last[:1] == "s" and last[1:].isdigit() else 0
        stage, dataset, split, model = [*parts[:4], "", "", ""][:4]
        table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        if table.empty:
            continue
        found = {"wall_s": table.get("s"), "cpu_s": table.get("cpu_time"), "peak_rss_mb": table.get("max_rss")}
        yield (
            (stage, dataset, split, model, shard),
            {name: float(column.iloc[-1]) for name, column in found.items() if column is not None},
        )
