"""Which conditions respond at all, and how well each response is predicted: what no mean over conditions says."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scident.aggregate.units import PREDICTED, RESPONSE_CEILING, at_selection, entries_of
from scident.report import style
from scident.report.view import Place, Plan, Tables

MOST = 30
"""Most conditions drawn, those of most reproducible response first."""
NAMED = 6
"""Most conditions named in a sentence."""
REFERENCE = "no_change"
"""The control that has a row of every condition, whatever a model predicts."""
WIDTH = 5.6
"""Inches."""


@dataclass(frozen=True)
class Visible:
    """The section of one place."""

    name: str
    scope: str
    sentence: str
    svg: str


def section(plan: Plan, found: Tables, place: Place) -> Visible | None:
    """Return what is known of single conditions; None where no score is given for each of them.

    A condition responds visibly where `nmse_corrected` has a value of its own (in most replicates): its squared
    response, freed of sampling variance, exceeds two standard errors.
    """
    scores = at_selection(place.of(found.scores), found.selected)
    scores = scores[scores["perturbation"].notna() & scores["variant"].isin(PREDICTED)]
    judged = scores[scores["metric"].isin(entries_of(plan, "nmse_corrected")[:1])]
    judged = judged[judged["model"].map(lambda name: plan["models"][name]["use"]) == REFERENCE]
    if judged.empty:
        return None
    ok = (judged["status"] == "ok").astype(float)
    seen = ok.groupby(judged["perturbation"].astype(str)).mean() > 1 / 2
    values = _correlations(plan, scores)
    name = f"visible-{place.slug}"
    svg = _drawn(plan, seen, values, name) if len(values.columns) else ""
    return Visible(name, style.SCOPES[place.scope], _sentence(seen), svg)


def _correlations(plan: Plan, scores: pd.DataFrame) -> pd.DataFrame:
    """Return Δ Pearson of each condition (rows) by each model (columns), mean over replicates and seeds."""
    shown = [m for m, entry in plan["models"].items() if entry["role"] != "negative_control"]
    rows = scores[scores["metric"].isin(entries_of(plan, "delta_pearson")[:1]) & scores["model"].isin(shown)]
    rows = rows[rows["status"] == "ok"]
    # a model stands for itself by the first kind of prediction it gives
    kind = rows["variant"].map(PREDICTED.index)
    rows = rows[kind == kind.groupby(rows["model"]).transform("min")]
    known = rows.pivot_table(index="perturbation", columns="model", values="value", aggfunc="mean", observed=True)
    known.index = known.index.astype(str)
    return known.reindex(columns=[m for m in shown if m in set(known)])


def _sentence(seen: "pd.Series[bool]") -> str:
    """Say how many conditions respond visibly, and which."""
    names = sorted(seen.index[seen])
    what = (
        f"{len(names)} of {style.plural(len(seen), 'condition')} {'responds' if len(names) == 1 else 'respond'} visibly"
    )
    if not names:
        return f"{what}: on these cells no prediction can be told from no change."
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return f"{what}: {listed}."


def _drawn(plan: Plan, seen: "pd.Series[bool]", values: pd.DataFrame, name: str) -> str:
    """Draw each model's Δ Pearson by condition, visible ones first, then by the half split."""
    ceilings = [m for m in values if plan["models"][m]["use"] == RESPONSE_CEILING]
    order = pd.DataFrame({"seen": seen}).join(values, how="inner")
    order["half"] = order[ceilings[0]] if ceilings else order[list(values)].max(axis=1)
    order = order.sort_values(["seen", "half"], ascending=False, kind="stable").head(MOST)
    models = [m for m in values if m not in ceilings]
    with style.look():
        figure = Figure(figsize=(WIDTH, 0.19 * len(order) + 1.1), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(order))
        axes.axvline(0, color=style.RULE, lw=0.8, zorder=0)
        for ceiling in ceilings:
            label = plan["models"][ceiling]["label"]
            axes.plot(order[ceiling], places, "|", ms=10, mew=1.6, color=style.INK, label=label)
        for model in models:  # of one colour wherever it is drawn
            colour = style.MODEL_COLOURS[list(plan["models"]).index(model) % len(style.MODEL_COLOURS)]
            axes.plot(
                order[model],
                places,
                "o",
                ms=4.5,
                color=colour,
                mec="white",
                mew=0.6,
                label=plan["models"][model]["label"],
            )
        axes.set_yticks(places, list(order.index))
        for tick, visible in zip(axes.get_yticklabels(), order["seen"], strict=True):
            tick.set_color(style.INK if visible else style.QUIET)
        split = int(order["seen"].sum())
        if 0 < split < len(order):
            axes.axhline(split - 0.5, color=style.QUIET, lw=0.8, ls=(0, (2, 2)))
        axes.set(xlim=(min(-0.25, float(order[list(values)].min().min()) - 0.03), 1.03), ylim=(len(order) - 0.5, -0.5))
        axes.set_xlabel(f"{plan['metrics'][entries_of(plan, 'delta_pearson')[0]]['label']} ↑")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper left", ncols=3, handletextpad=0.2, columnspacing=1.2)
        return style.to_svg(figure, name, "How well the response of each condition is predicted")
