"""Gather what every run left behind, and say so where a run left nothing: a missing job is a row, not a gap."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from scident import contracts, io
from scident.contracts import HASHES
from scident.errors import ContractError

SCOPES_OF_PROTOCOL = {"heldout": ("iid", "ood", "val"), "released": ("insample", "ood", "val")}

Member = tuple[int, str, int]
"""Replicate, grid point, seed."""


def members_of(run: Mapping[str, Any]) -> list[Member]:
    """Return every member that a run must have rows for."""
    return list(itertools.product(run["replicates"], run["grid_points"], run["seeds"]))


def collect_scores(plan: Mapping[str, Any], results: Path) -> pd.DataFrame:
    """Concatenate the score tables of all runs.

    Parameters
    ----------
    plan
        The benchmark's plan.
    results
        Root of the result folders.

    Returns
    -------
    Contract ``scores``. A run that was skipped has rows ``not_applicable:<why>``; a run, or a member of one, whose
    scores are missing or unreadable has rows ``failed:killed``.
    """
    found: dict[int, pd.DataFrame] = {}
    for i, run in enumerate(plan["runs"]):
        table = None if run["skipped"] else _read(_score_file(results, run, ".parquet"), "scores")
        if table is not None:
            found[i] = table
    tables = []
    for i, run in enumerate(plan["runs"]):
        status, reason = ("not_applicable", run["skipped"]) if run["skipped"] else ("failed", "killed")
        table = found.get(i)
        there = set() if table is None else _present(table)
        missing = [m for m in members_of(run) if m not in there]
        if table is not None:
            tables.append(table)
        if missing:
            tables.append(_filled(plan, run, missing, whole=table is None, why=(status, reason)))
    return _joined(tables, "scores")


def collect_aligned(plan: Mapping[str, Any], results: Path) -> pd.DataFrame:
    """Concatenate the target matrices of all runs (contract ``aligned``); runs without one add no rows."""
    runs = [r for r in plan["runs"] if not r["skipped"]]
    return _joined(_present_tables((_score_file(results, r, ".aligned.parquet") for r in runs), "aligned"), "aligned")


def collect_curves(plan: Mapping[str, Any], results: Path) -> pd.DataFrame:
    """Concatenate the training histories of all runs (contract ``curves``); runs without one add no rows."""
    tables = []
    for run in plan["runs"]:
        place = {key: run[key] for key in ("dataset", "split", "model")}
        for history in _present_tables(
            (f / "history.parquet" for f in shard_folders(results, "train", run)), "history"
        ):
            for column, name in enumerate(place):
                history.insert(column, name, place[name])
            tables.append(history)
    return _joined(tables, "curves")


def shard_folders(results: Path, stage: str, run: Mapping[str, Any]) -> list[Path]:
    """Return the folders of a run's jobs in the train or infer stage, existing or not; none for a skipped run."""
    if run["skipped"]:
        return []
    root = results / stage / run["dataset"] / run["split"] / run["model"]
    return [root / f"s{shard}" for shard in range(run["shards"])]


def _score_file(results: Path, run: Mapping[str, Any], ending: str) -> Path:
    folder: Path = results / "score" / run["dataset"] / run["split"]
    return folder / f"{run['model']}{ending}"


def _read(path: Path, name: str) -> pd.DataFrame | None:
    # An empty or cut-off file is what a killed job leaves behind; the row says so.
    try:
        table = io.read_table(path, name)
    except (OSError, ValueError, ContractError):
        return None
    return None if table.empty else table


def _present_tables(paths: Iterable[Path], name: str) -> Iterator[pd.DataFrame]:
    return (table for path in paths if (table := _read(path, name)) is not None)


def _present(table: pd.DataFrame) -> set[Member]:
    members = table[table["seed"].notna()][["replicate", "grid_point", "seed"]].drop_duplicates()
    return {(int(r), str(g), int(s)) for r, g, s in members.itertuples(index=False)}


def _filled(
    plan: Mapping[str, Any],
    run: Mapping[str, Any],
    members: list[Member],
    *,
    whole: bool,
    why: tuple[str, str],
) -> pd.DataFrame:
    protocol = plan["splits"][run["split"]]["protocol"]
    groups: list[tuple[int, str, int | None]] = list(dict.fromkeys((r, g, None) for r, g, _ in members))
    rows = []
    for name, metric in plan["metrics"].items():
        across = metric["over"] == "seeds"
        if across and not whole:
            continue  # the run's own table already compares the seeds that are left
        for scope in (s for s in SCOPES_OF_PROTOCOL[protocol] if s in metric["scopes"]):
            for variant in (v for v in metric["variants"] if v != "released" or scope == "insample"):
                rows += [_empty_row(run, m, (scope, name, variant), why) for m in (groups if across else members)]
    return contracts.check_table(pd.DataFrame(rows), "scores")


def _empty_row(
    run: Mapping[str, Any],
    member: tuple[int, str, int | None],
    what: tuple[str, str, str],
    why: tuple[str, str],
) -> dict[str, object]:
    replicate, grid_point, seed = member
    scope, metric, variant = what
    status, reason = why
    return {
        "dataset": run["dataset"],
        "replicate": replicate,
        "split": run["split"],
        "scope": scope,
        "model": run["model"],
        "grid_point": grid_point,
        "seed": seed,
        "metric": metric,
        "variant": variant,
        "perturbation": None,
        "value": None,
        "se": None,
        "n": 0,
        "status": status,
        "reason": reason,
        **dict.fromkeys(HASHES, ""),
    }


def _joined(tables: Iterable[pd.DataFrame], name: str) -> pd.DataFrame:
    tables = list(tables)
    if not tables:
        return contracts.check_table(io.empty_table(name), name)
    return contracts.check_table(pd.concat(tables, ignore_index=True), name)
