"""What the jobs cost and which of them failed."""

import pandas as pd
from markupsafe import Markup, escape

from scident.report import style
from scident.report.tables import optional, to_html
from scident.report.view import Plan


def cost_table(plan: Plan, costs: pd.DataFrame) -> Markup | None:
    """Return the costs per stage and run, jobs added up; None without any."""
    if costs.empty:
        return None
    rows = []
    for (stage, dataset, split, model), jobs in costs.groupby(["stage", "dataset", "split", "model"], sort=False):
        label = plan["models"].get(model, {}).get("label", model or "(all)")
        rows.append(
            {
                "model": escape(label),
                "stage": escape(stage),
                "place": escape(" / ".join(str(p) for p in (dataset, split) if p)),
                "jobs": str(len(jobs)),
                "members": str(jobs["members"].sum()),
                "wall": optional(jobs["wall_s"].sum(min_count=1), "{:,.1f}"),
                "cpu": optional(jobs["cpu_s"].sum(min_count=1), "{:,.1f}"),
                "memory": optional(jobs["peak_rss_mb"].max(), "{:,.0f}"),
                "speed": optional(jobs["cells_per_s"].mean(), "{:,.0f}"),
                "parameters": optional(jobs["n_params"].max(), "{:,.0f}"),
            }
        )
    headings = ("Model", "Stage", "Dataset / split", "Jobs", "Members", "Wall, s", "CPU, s", "Peak memory, MB")
    return to_html(
        pd.DataFrame(rows), "costs-table", dict(zip(rows[0], (*headings, "Cells per s", "Parameters"), strict=True))
    )


def failures(plan: Plan, scores: pd.DataFrame) -> pd.DataFrame:
    """Group failed score rows by dataset, split, model and reason.

    Returns
    -------
    Columns dataset, split, model, label, reason, explanation, members (as ``r0.s1``, with the grid point where there
    are several), rows.
    """
    failed = scores[scores["status"] == "failed"]
    rows = []
    for (dataset, split, model, reason), block in failed.groupby(["dataset", "split", "model", "reason"], sort=True):
        members = block[block["seed"].notna()][["replicate", "grid_point", "seed"]].drop_duplicates()
        several = len(plan["models"][model]["grid_points"]) > 1
        names = [f"r{r}.{g}.s{s}" if several else f"r{r}.s{s}" for r, g, s in members.itertuples(index=False)]
        if len(names) == _expected(plan, dataset, split, model):
            names = [f"all {len(names)}"]
        label = plan["models"][model]["label"]
        place = {"dataset": dataset, "split": split, "model": model, "label": label}
        why = {"reason": reason, "explanation": style.explain(str(reason))}
        rows.append({**place, **why, "members": " ".join(sorted(names)), "rows": len(block)})
    columns = ["dataset", "split", "model", "label", "reason", "explanation", "members", "rows"]
    return pd.DataFrame(rows, columns=columns)


def _expected(plan: Plan, *place: object) -> int:
    run = next(r for r in plan["runs"] if (r["dataset"], r["split"], r["model"]) == place)
    return len(run["replicates"]) * len(run["grid_points"]) * len(run["seeds"])


def failure_table(found: pd.DataFrame) -> Markup | None:
    """Return the failures as a table; None where there are none."""
    if found.empty:
        return None
    cells = found.astype(str).map(escape)
    cells = cells[["label", "dataset", "split", "reason", "explanation", "members", "rows"]]
    headings = ("Model", "Dataset", "Split", "Reason", "In words", "Members", "Score rows")
    return to_html(cells, "failures-table", dict(zip(cells.columns, headings, strict=True)))
