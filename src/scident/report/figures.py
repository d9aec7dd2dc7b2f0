"""The report's figures, each one SVG element."""

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scident.report import style
from scident.report.view import Headline, Plan, Row

WIDTH = 4.3
"""Inches; two figures stand side by side on a wide page, one fills a phone."""
MAX_POINTS = 200
MAX_REASON = 32


def headline(head: Headline) -> str:
    """Draw every model's headline value with its interval and replicate dots, between floor and ceiling."""
    with style.look():
        figure = Figure(figsize=(WIDTH, 0.27 * len(head.rows) + 0.95), layout="constrained")
        axes = figure.subplots()
        low, high = _limits(head)
        if np.isfinite(head.floor):
            edge = low if head.better == "higher" else high
            axes.axvspan(*sorted((edge, head.floor)), color=style.FLOOR, lw=0, zorder=0)
            axes.text(low, -0.75, f"floor {style.number(head.floor)}", va="bottom", color=style.QUIET, fontsize=8)
        if np.isfinite(head.ceiling):
            axes.axvline(head.ceiling, color=style.ROLE_COLOURS["positive_control"], lw=1, ls=(0, (4, 2)), zorder=1)
            text = f"ceiling {style.number(head.ceiling)}"
            axes.text(head.ceiling, -0.75, text, ha="right", va="bottom", color=style.QUIET, fontsize=8)
        for y, row in enumerate(head.rows):
            _draw_row(axes, y, row, low)
        _separate_roles(axes, head)
        axes.set_yticks(range(len(head.rows)), [row.label for row in head.rows])
        axes.set(
            xlim=(low, high), ylim=(len(head.rows) - 0.5, -0.8), xlabel=f"{head.label} {style.ARROWS[head.better]}"
        )
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        title = f"{head.label} of every model on {style.SCOPES[head.place.scope]}"
        return style.to_svg(figure, f"headline-{head.place.slug}", title)


def _draw_row(axes: Axes, y: int, row: Row, left: float) -> None:
    colour = style.ROLE_COLOURS[row.role]
    if row.status != "ok":
        text = "failed: " if row.status == "failed" else "n/a: "
        axes.text(
            left, y, f" {text}{row.reason.replace('_', ' ')[:MAX_REASON]}", va="center", fontsize=8, color=style.QUIET
        )
        return
    if len(row.dots) > 1:
        axes.plot(row.dots, np.full(len(row.dots), y + 0.27), "o", ms=2.6, color="#8b929b", mew=0, alpha=0.8, zorder=2)
    if np.isfinite(row.low):
        axes.plot([row.low, row.high], [y, y], color=colour, lw=2, solid_capstyle="round", zorder=3)
    axes.plot(row.mean, y, "o", ms=6, color=colour, mec="white", mew=0.8, zorder=4)


def _separate_roles(axes: Axes, head: Headline) -> None:
    for y in range(1, len(head.rows)):
        if head.rows[y].role != head.rows[y - 1].role:
            axes.axhline(y - 0.5, color=style.RULE, lw=0.7, zorder=0)


def _limits(head: Headline) -> tuple[float, float]:
    if np.isfinite(head.range).all():
        # Intervals of few units reach beyond what is possible; the axis does not.
        low, high = head.range
        return low - 0.005 * (high - low), high + 0.02 * (high - low)
    ends = [v for row in head.rows for v in (row.low, row.high, row.mean, *row.dots)] + [head.floor, head.ceiling]
    known = [v for v in ends if np.isfinite(v)] or [0.0, 1.0]
    margin = 0.05 * (max(known) - min(known) or 1.0)
    return min(known) - margin, max(known) + margin


def matrix(values: Float[np.ndarray, "perts factors"], name: str, title: str) -> str:
    """Draw a perturbations × factors matrix, scaled to its own 99th percentile (scores of two models share no unit)."""
    top = float(np.nanquantile(values, 0.99)) if values.size else 1.0
    with style.look():
        figure = Figure(figsize=(1.45, 2.7), layout="constrained")
        axes = figure.subplots()
        scaled = np.clip(values / top, 0, 1) if top > 0 else np.zeros_like(values)
        axes.imshow(scaled, cmap=sns.color_palette("light:#0b3c68", as_cmap=True), vmin=0, vmax=1,
                    aspect="auto", interpolation="none")  # fmt: skip
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(True)
        return style.to_svg(figure, name, title)


def target_matrices(aligned: pd.DataFrame, selected: pd.DataFrame, plan: Plan, slug: str) -> list[tuple[str, str, str]]:
    """Draw the true targets and each model's recovered ones, perturbations in the same order.

    Parameters
    ----------
    aligned, selected
        Contracts ``aligned`` and ``selected`` of one dataset and split; a model is drawn at the grid point selected in
        the first replicate, which is the one aligned.
    plan
        The benchmark's plan.
    slug
        Start of the figures' names.

    Returns
    -------
    (name, caption, SVG) of each matrix, the truth first.
    """
    drawn: list[tuple[str, str, str]] = []
    first = selected[selected["replicate"] == selected["replicate"].min()]
    aligned = aligned.merge(first[["model", "grid_point"]], on=["model", "grid_point"])
    for model in (m for m in plan["models"] if m in set(aligned["model"])):
        rows = aligned[aligned["model"] == model]
        true = rows.pivot_table(index="perturbation", columns="factor", values="true", aggfunc="max").astype(float)
        order = true.sort_values(list(true.columns), ascending=False, kind="stable").index
        if not drawn:
            name = f"{slug}-true"
            drawn.append((name, "True targets", matrix(true.loc[order].to_numpy(), name, "True targets")))
        score = rows.pivot_table(index="perturbation", columns="factor", values="score").loc[order]
        name, label = f"{slug}-{model}", plan["models"][model]["label"]
        source = str(rows["source"].iloc[0])
        title = f"Target scores of {label}"
        drawn.append((name, f"{label} ({source})" if source else label, matrix(score.to_numpy(), name, title)))
    return drawn


def training_curves(curves: pd.DataFrame, plan: Plan, slug: str) -> list[tuple[str, str, str]]:
    """Draw one figure per quantity of the training history, a thin line per member, coloured by model.

    A second training has figures of its own; extra members, trained on fewer perturbations, are not drawn.

    Parameters
    ----------
    curves
        Contract ``curves`` of one dataset and split.
    plan
        The benchmark's plan.
    slug
        Start of the figures' names.

    Returns
    -------
    (name, quantity, SVG) of each figure.
    """
    models = [m for m in plan["models"] if m in set(curves["model"])]
    colours = {m: style.MODEL_COLOURS[i % len(style.MODEL_COLOURS)] for i, m in enumerate(models)}
    drawn = []
    shown = curves[(curves["phase"] != "select") & ~curves["member"].astype(str).str.contains(r"\.v\d+$")]
    for (quantity, again), rows in shown.groupby(["quantity", shown["phase"] == "retrain"], sort=True):
        finite = rows[np.isfinite(rows["value"])]
        if finite.empty:
            continue
        name = f"{slug}-{quantity}{'-retrain' if again else ''}"
        caption = str(quantity).replace("_", " ") + (", second training" if again else "")
        with style.look():
            figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
            axes = figure.subplots()
            for (model, _), line in finite.groupby(["model", "member"], sort=True):
                step = -(-len(line) // MAX_POINTS)
                kept = line.sort_values("epoch").iloc[::step]
                axes.plot(kept["epoch"], kept["value"], color=colours[model], lw=0.8, alpha=0.7)
            present = [m for m in models if m in set(finite["model"])]
            handles = [axes.plot([], [], color=colours[m], lw=2)[0] for m in present]
            axes.legend(handles, [plan["models"][m]["label"] for m in present])
            # The first epochs are far off the scale of everything that follows.
            low, high = np.quantile(finite["value"], [0.0, 0.97])
            margin = 0.04 * (high - low) or 0.5
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set(xlabel="epoch", ylabel=caption, ylim=(low - margin, high + margin))
            drawn.append((name, caption, style.to_svg(figure, name, f"{caption} over training epochs")))
    return drawn
