"""The report's tables, as HTML without styles of their own (the page has one style sheet)."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from great_tables import GT, html
from markupsafe import Markup, escape

from scident.aggregate.units import PREDICTED, SELECTED, floor_model, notes_of, predicts
from scident.report import style
from scident.report.view import Place, Plan, Tables, is_ceiling
from scident.report.words import fully_separated

BESIDE = {"prior_only": "labels alone", "shuffled_expression": "shuffled expression"}
"""What a model of labels scores without reading expression (`Model.companions`), and its name in a cell."""

COUNTS = ("n_latents", "n_dead", "n_true_const")
"""Notes of a score that its cell shows: what was not matched one to one."""


def to_html(frame: pd.DataFrame, name: str, labels: dict[str, str], group: str | None = None) -> Markup:
    """Render a frame of ready-made HTML cells; its first column names the row.

    Parameters
    ----------
    frame
        Cells as safe HTML.
    name
        Id of the table in the page.
    labels
        Column to heading (safe HTML).
    group
        Column whose values head groups of rows.
    """
    table = GT(frame, id=name, groupname_col=group).fmt(str)
    table = table.cols_label({column: html(label) for column, label in labels.items()})
    text = re.sub(r"<style>.*?</style>", "", table.as_raw_html(), flags=re.DOTALL)
    text = re.sub(r'(<div id="[^"]*") style="[^"]*"', r'\1 class="scroll" tabindex="0"', text, count=1)
    return Markup(re.sub(r"\n\s*\n", "\n", text))


def score_table(plan: Plan, tables: Tables, place: Place, models: list[str]) -> tuple[Markup | None, dict[str, str]]:
    """Return methods × metrics of a place (mean over its interval), and the reasons of its empty cells in words.

    The best method's cell is bold only where it is separated from every other one. Models that have no score at all are
    left to `silent`. None where nothing applies.
    """
    summary = place.of(tables.summary)
    applies = summary.groupby(["metric", "variant"])["status"].transform(lambda s: (s != "not_applicable").any())
    speaks = summary.groupby("model")["status"].transform(lambda s: (s != "not_applicable").any())
    shown = summary[applies.astype(bool) & speaks.astype(bool)]
    if shown.empty:
        return None, {}
    present = set(zip(shown["metric"], shown["variant"], strict=True))
    present |= {(m, PREDICTED[0]) for m, v in present if v in PREDICTED and predicts(plan, m)}
    columns = [
        (m, v) for m, declared in plan["metrics"].items() for v in _shown(plan, m, declared) if (m, v) in present
    ]
    bold = _bold(place.of(tables.ranks))
    cells = {(r["model"], r["grid_point"], r["metric"], r["variant"]): r for r in shown.to_dict("records")}
    floors = {
        (m, v): floor_model(
            shown[(shown["metric"] == m) & (shown["variant"] == v)].drop_duplicates("model").set_index("model")["mean"],
            plan,
            m,
        )
        for m, v in columns
    }
    rows = []
    for model in models:
        points = plan["models"][model]["grid_points"]
        compared = SELECTED if len(points) > 1 else points[0]
        for point in dict.fromkeys([compared, *points]):
            if any(key[:2] == (model, point) for key in cells):
                row = {"role": style.ROLES[plan["models"][model]["role"]], "model": _name(plan, model, point)}
                for m, v in columns:
                    best = (model, m, v) in bold and point == compared
                    beside = {
                        words: cells.get((model, point, m, f"{v}:{c}".lstrip(":"))) for c, words in BESIDE.items()
                    }
                    own = _standing(plan, m, v, {kind: cells.get((model, point, m, kind)) for kind in (v, *PREDICTED)})
                    row[f"{m}.{v}"] = _cell(own, beside, best=best, floor=floors[m, v] == model)
                rows.append(row)
    labels = {"model": "Model"} | {f"{m}.{v}": _heading(plan, m, v) for m, v in columns}
    table = to_html(pd.DataFrame(rows), f"scores-{place.slug}", labels, group="role")
    reasons = {str(c["reason"]) for c in cells.values() if c["status"] != "ok"}
    return table, {r: style.explain(r) for r in sorted(reasons) if style.explain(r) != r}


def silent(plan: Plan, tables: Tables, place: Place) -> dict[str, list[str]]:
    """Return why models have no score at all in a place, and the labels of these; `score_table` has no row of them."""
    found: dict[str, list[str]] = {}
    for model, rows in place.of(tables.summary).groupby("model", sort=False):
        if (rows["status"] == "not_applicable").all():
            why = ", ".join(sorted({style.explain(str(reason)) for reason in rows["reason"]}))
            found.setdefault(why, []).append(str(plan["models"][str(model)]["label"]))
    return found


def base_rate(tables: Tables, place: Place) -> str:
    """Return the share of true targets, which random target scores reach as AUPRC; empty where it is not known."""
    rates = [notes_of(reason).get("base_rate") for reason in place.of(tables.summary)["reason"]]
    known = [float(rate) for rate in rates if rate]
    return style.number(float(np.mean(known))) if known else ""


def left_out(plan: Plan, tables: Tables, place: Place) -> list[str]:
    """Name the metrics that apply to no model of a place, each with why."""
    told = []
    for (metric, variant), rows in place.of(tables.summary).groupby(["metric", "variant"], sort=False):
        if (rows["status"] == "not_applicable").all():
            why = ", ".join(sorted({style.explain(r) for r in rows["reason"]}))
            suffix = f" ({variant})" if variant else ""
            told.append(f"{plan['metrics'][metric]['label']}{suffix}: {why}")
    return told


def comparison_table(plan: Plan, ranks: pd.DataFrame, name: str) -> Markup:
    """Return the paired comparisons of one dataset, split and scope."""
    rows = [
        {
            "metric": escape(plan["metrics"][r["metric"]]["label"]) + (f" ({r['variant']})" if r["variant"] else ""),
            "best": escape(plan["models"][r["best"]]["label"]),
            "other": escape(plan["models"][r["other"]]["label"]),
            "difference": optional(r["difference"], "{:.3f}"),
            "mean": "" if pd.isna(r["low"]) else f"[{r['low']:.3f}, {r['high']:.3f}]".replace("-", "−"),
            "effect": optional(r["effect"], "{:.2f}"),
            "units": str(r["units"]),
            "test": str(r["test"]),
            "p": optional(r["p_holm"], "{:.2g}"),
            "verdict": escape(r["verdict"]),
        }
        for r in ranks.to_dict("records")
    ]
    headings = ("Metric", "Best", "Compared with", "Median gain", "95 % t interval of the mean gain", "Rank-biserial")
    labels = dict(zip(rows[0], (*headings, "Units", "Test", "p (Holm)", "Verdict"), strict=True))
    return to_html(pd.DataFrame(rows), name, labels)


def optional(value: float, form: str) -> str:
    """Format a number that may be missing (then: nothing)."""
    return "" if pd.isna(value) else form.format(value).replace("-", "−")


def _bold(ranks: pd.DataFrame) -> set[tuple[str, str, str]]:
    grouped = ranks.groupby(["best", "metric", "variant"])
    return {(str(b), str(m), str(v)) for (b, m, v), rows in grouped if fully_separated(rows)}


def _heading(plan: Plan, metric: str, variant: str) -> Markup:
    declared = plan["metrics"][metric]
    small = Markup("<small>{}</small>").format(variant) if variant else ""
    return Markup("{}\u00a0{}{}").format(declared["label"], style.ARROWS.get(declared["better"], ""), small)


def _name(plan: Plan, model: str, point: str) -> Markup:
    entry = plan["models"][model]
    several = len(entry["grid_points"]) > 1
    small = Markup("<small>{}</small>").format(point.strip("()")) if several else ""
    tag = Markup(" <span class='tag'>ceiling</span>") if is_ceiling(plan, model) else ""
    return Markup("<i class='dot {}'></i>{}{}{}").format(entry["role"], entry["label"], tag, small)


Record = dict[Hashable, Any] | None
"""A row of the summary."""


def _shown(plan: Plan, metric: str, declared: Mapping[str, Any]) -> list[str]:
    """Return the variants of a metric that have columns: of predictions the one that stands for a model."""
    shown = list(declared["shown"] or declared["variants"])
    return [v for v in shown if v not in PREDICTED[1:]] if predicts(plan, metric) else shown


def _standing(plan: Plan, metric: str, variant: str, kinds: Mapping[str, Record]) -> Record:
    """Return the row of a cell: of predictions that of the first kind with a value."""
    own = kinds[variant]
    if not predicts(plan, metric) or variant != PREDICTED[0]:
        return own
    known = [row for kind in PREDICTED if (row := kinds[kind]) is not None and row["status"] == "ok"]
    return known[0] if known else own


def _cell(record: Record, beside: Mapping[str, Record], *, best: bool, floor: bool) -> Markup:
    if record is None:
        return Markup("")
    status, reason = str(record["status"]), str(record["reason"])
    if status != "ok":
        word = "failed" if status == "failed" else "n/a"
        return Markup("<span class='{}'>{}<small>{}</small></span>").format(status, word, reason.replace("_", " "))
    mean, low, high = (float(record[k]) for k in ("mean", "low", "high"))
    text = Markup("<b>{}</b>" if best else "{}").format(style.number(mean))
    notes = notes_of(reason)
    lines = [style.interval(low, high)] if np.isfinite(low) else []
    lines += [f"{record['n_ok']}/{record['n_total']} ok"] if record["n_ok"] != record["n_total"] else []
    lines += [f"{name.removeprefix('n_')} {notes[name]}" for name in COUNTS if name in notes]
    lines += [notes["score_source"]] if "score_source" in notes else []
    lines += [f"{float(notes['empty_share']):.0%} empty"] if "empty_share" in notes else []
    lines += ["= floor"] if floor else []
    lines += [f"{words} {style.number(r['mean'])}" for words, r in beside.items() if r and r["status"] == "ok"]
    return text + Markup("").join(Markup("<small>{}</small>").format(line) for line in lines)
