"""Gather what every run left behind, and say so where a run left nothing: a missing job is a row, not a gap."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from scident import contracts, io
from scident.contracts import HASHES
from scident.errors import ContractError
from scident.info import MetricInfo
from scident.metrics.base import SCOPES_OF_PROTOCOL

Member = tuple[int, str, int | None]
"""Replicate, grid point, seed; no seed: all of them together."""


def members_of(run: Mapping[str, Any], over: str) -> list[Member]:
    """Return every member that a run must have rows for, under metrics over members or over seeds."""
    seeds = [None] if over == "seeds" else run["seeds"]
    return list(itertools.product(run["replicates"], run["grid_points"], seeds))


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
    scores are missing or unreadable has rows ``failed:killed``; one whose scores are of another configuration or
    other code than the plan's has rows ``failed:outdated``.
    """
    tables = []
    for run in plan["runs"]:
        table, why = _scores_of(run, results)
        tables += [table, _filled(plan, run, _present(table), why)]
    return _joined(tables, "scores")


def collect_aligned(plan: Mapping[str, Any], results: Path) -> pd.DataFrame:
    """Concatenate the target matrices of all runs (contract ``aligned``); runs without valid scores add no rows."""
    runs = [run for run in plan["runs"] if len(_scores_of(run, results)[0])]
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


def _scores_of(run: Mapping[str, Any], results: Path) -> tuple[pd.DataFrame, tuple[str, str]]:
    """Return the valid scores of a run, and the status and reason of those that it lacks."""
    if run["skipped"]:
        return io.empty_table("scores"), ("not_applicable", run["skipped"])
    table = _read(_score_file(results, run, ".parquet"), "scores")
    if table is None:
        return io.empty_table("scores"), ("failed", "killed")
    if any((table[name] != run.get(name, table[name])).any() for name in ("hash_config", "hash_code")):
        return io.empty_table("scores"), ("failed", "outdated")
    return table, ("failed", "killed")


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
    members = table[["replicate", "grid_point", "seed"]].drop_duplicates()
    return {(int(r), str(g), None if pd.isna(s) else int(s)) for r, g, s in members.itertuples(index=False)}


def _filled(plan: Mapping[str, Any], run: Mapping[str, Any], there: set[Member], why: tuple[str, str]) -> pd.DataFrame:
    """Return the rows of every member that is not `there`; none where the run owes none."""
    protocol = plan["splits"][run["split"]]["protocol"]
    rows: list[dict[str, object]] = []
    for name, declared in plan["metrics"].items():
        metric = MetricInfo(**{key: value for key, value in declared.items() if key != "use"})
        missing = [member for member in members_of(run, metric.over) if member not in there]
        for scope in (s for s in SCOPES_OF_PROTOCOL[protocol] if s in metric.scopes):
            for variant in metric.variants_on(scope):
                rows += [_empty_row(run, member, (scope, name, variant), why) for member in missing]
    return contracts.check_table(pd.DataFrame(rows), "scores") if rows else io.empty_table("scores")


def _empty_row(
    run: Mapping[str, Any],
    member: Member,
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
    tables = [table for table in tables if len(table)]
    if not tables:
        return contracts.check_table(io.empty_table(name), name)
    return contracts.check_table(pd.concat(tables, ignore_index=True), name)
