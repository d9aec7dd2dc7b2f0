"""Aggregate stage: every score, target matrix, training curve and cost of a benchmark in nine tables."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from scident import contracts, io
from scident.aggregate import collect, contrasts, costs, differences, intervals, ranks, select, units

log = logging.getLogger(__name__)


def run(plan: dict[str, Any], results: Path, out: Path) -> None:
    """Write nine tables (parquet) to `out`, named as in `scident.report.view.Tables`.

    Parameters
    ----------
    plan
        The benchmark's plan: what was asked for, so that what is missing becomes a row.
    results
        Root of the result folders; the workflow's ``benchmarks`` folder lies beside or inside it, if anywhere.
    out
        Folder of the tables.
    """
    scores = collect.collect_scores(plan, results)
    curves = collect.collect_curves(plan, results)
    grids = select.grids(scores, curves, plan)
    selected = _filled(select.select(grids, plan), "selected")
    chosen = units.at_selection(scores, selected)
    several = chosen[chosen["grid_point"] == units.SELECTED]
    shown = pd.concat([scores, several], ignore_index=True) if len(several) else scores
    averaged = units.per_unit(chosen)
    pairs = [differences.differences(chosen, plan), contrasts.contrasts(averaged, plan)]
    folders = [f for f in (results.parent / "benchmarks", results / "benchmarks") if f.is_dir()]
    tables = {
        "scores": scores,
        "summary": _filled(intervals.summary(shown), "summary"),
        "ranks": _filled(ranks.compare(averaged, plan), "ranks"),
        "selected": selected,
        "costs": costs.collect_costs(plan, results, folders[0] if folders else None),
        "aligned": collect.collect_aligned(plan, results),
        "curves": curves,
        "grid": _filled(select.curve(grids), "grid"),
        "differences": _filled(pd.concat(pairs, ignore_index=True), "differences"),
    }
    for name, table in tables.items():
        io.write_table(table, out / f"{name}.parquet", name)
    failed = int((scores["status"] == "failed").sum())
    log.info("aggregated %d runs: %d score rows, %d failed", len(plan["runs"]), len(scores), failed)


def _filled(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return contracts.check_table(io.empty_table(name) if table.empty else table, name)
