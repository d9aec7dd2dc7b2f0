"""How each model's grid point was chosen: the curve of every criterion, what every rule chose, and what that cost."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scident.aggregate.select import FIRST, ORACLE, TRUTHS
from scident.aggregate.units import entries_of
from scident.report import style
from scident.report.figures import WIDTH
from scident.report.tables import to_html
from scident.report.view import Plan
from scident.selection import LOWER_IS_BETTER, RULES

CRITERIA = {
    "val_nelbo": "Validation negative ELBO, nats",
    "stability": "Agreement of seeds, MCC",
    "heldout_validation": "Validation perturbations, IWELBO, nats",
}
"""Criterion -> heading of its panel, with the unit."""

RULE_WORDS = {
    "val_nelbo": "validation nELBO",
    "stability": "agreement of seeds",
    "heldout_validation": "validation perturbations",
    "stability+heldout_validation": "mean rank: seeds, perturbations",
    FIRST: "none applies: first point",
}
ORACLE_WORDS = "best MCC (oracle)"
REGRETS = {"regret": Markup("Regret in MCC"), "regret_f1": Markup("Regret in target F1")}
"""Column of the table ``selected`` -> heading."""


@dataclass(frozen=True)
class Choice:
    """What the page shows of one model with a grid."""

    label: str
    what: str
    """What the grid is over: the parameter's name, if it is one."""
    name: str
    svg: str
    table: Markup
    truth: bool


def choices(plan: Plan, grid: pd.DataFrame, selected: pd.DataFrame, slug: str) -> list[Choice]:
    """Return the choice of each model with a grid.

    Parameters
    ----------
    plan
        The benchmark's plan.
    grid, selected
        Contracts ``grid`` and ``selected`` of one dataset and split.
    slug
        Start of the figures' names.
    """
    found = []
    for model, entry in plan["models"].items():
        rules, curves = selected[selected["model"] == model], grid[grid["model"] == model]
        if len(entry["grid_points"]) < 2 or rules.empty:
            continue
        name = f"{slug}-{model}"
        svg = _figure(plan, model, curves, rules, name) if len(curves) else ""
        table = _table(entry["grid_points"], rules, f"{name}-rules")
        truth = ORACLE in set(curves["criterion"])
        found.append(Choice(entry["label"], _parameter(entry["grid_points"]), name, svg, table, truth))
    return found


def title(shown: list[Choice]) -> str:
    """Name the section: after the parameter, if all grids are over the same one."""
    names = {choice.what for choice in shown}
    return f"Choosing the {names.pop()}" if len(names) == 1 else "Choosing the grid point"


def _parameter(points: list[str]) -> str:
    names = {part.split("=")[0] for point in points for part in point.split(",")}
    return names.pop().replace("_", " ") if len(names) == 1 else "grid point"


def _short(points: list[str]) -> dict[str, str]:
    """Return grid point -> its label: without the parameter's name where there is one parameter."""
    one = _parameter(points) != "grid point"
    return {point: point.partition("=")[2] if one else point for point in points}


def _table(points: list[str], rules: pd.DataFrame, name: str) -> Markup:
    replicates, short = rules["replicate"].nunique(), _short(points)
    rows = []
    for rule in (r for r in (*RULES, FIRST) if r in set(rules["rule"])):
        own = rules[rules["rule"] == rule]
        counts = Counter(own["grid_point"])
        chosen = ", ".join(f"{short[p]} ({counts[p]})" if replicates > 1 else short[p] for p in points if p in counts)
        used = int(own["default"].sum())
        times = "" if used == replicates else f" in {used} of {replicates}"
        tag = Markup(" <span class='tag'>used{}</span>").format(times) if used else Markup("")
        row = {"rule": Markup("{}{}<small>{}</small>").format(RULE_WORDS[rule], tag, rule), "chosen": escape(chosen)}
        for column in (name for name in REGRETS if own[name].notna().any()):
            largest = Markup("<small>at most {:.3f}</small>").format(own[column].max()) if replicates > 1 else ""
            row[column] = Markup("{:.3f}{}").format(own[column].mean(), largest)
        rows.append(row)
    labels = {"rule": "Rule", "chosen": "Chosen (replicates)" if replicates > 1 else "Chosen"} | REGRETS
    span = rules.groupby("replicate")["range"].first().mean()
    labels["regret"] += Markup("<small>grid spans {:.3f}</small>").format(span)
    frame = pd.DataFrame(rows).fillna("")
    return to_html(frame, name, {column: labels[column] for column in frame.columns})


def _figure(plan: Plan, model: str, curves: pd.DataFrame, rules: pd.DataFrame, name: str) -> str:
    """Draw one panel per criterion over the grid points, and below them how many replicates each rule sent where."""
    points = plan["models"][model]["grid_points"]
    shown = [c for c in (*CRITERIA, *TRUTHS) if c in set(curves["criterion"])]
    tables = {c: _wide(curves[curves["criterion"] == c], points) for c in shown}
    strip = _strip(rules, tables.get(ORACLE))
    with style.look():
        heights = [*[0.85] * len(shown), 0.24 * len(strip) + 0.1]
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.32 * len(shown) + 0.55), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        used = rules[rules["default"]]
        for panel, criterion in zip(axes, shown, strict=False):
            marked = rules[rules["rule"] == criterion] if criterion in CRITERIA else used
            _curve(panel, tables[criterion], marked, truth=criterion in TRUTHS)
            panel.set_title(_heading(plan, criterion), loc="left", fontsize=8.5, color=style.INK)
            panel.tick_params(axis="x", length=0)
        _counts(axes[-1], strip, points)
        short = _short(points)
        axes[-1].set_xticks(range(len(points)), [short[p] for p in points])
        axes[-1].set(xlim=(-0.5, len(points) - 0.5), xlabel=_parameter(points))
        return style.to_svg(figure, name, f"Criteria over the grid points of {plan['models'][model]['label']}")


def _wide(curve: pd.DataFrame, points: list[str]) -> pd.DataFrame:
    """Return replicates × grid points, replicates shifted to a common mean; a point that diverged is a gap."""
    values = curve.pivot_table(index="replicate", columns="grid_point", values="value").reindex(columns=points)
    values = values.where(np.isfinite(values))
    own = values.mean(axis=1)
    return values.sub(own - own.mean(), axis=0)


def _curve(axes: Axes, values: pd.DataFrame, marked: pd.DataFrame, *, truth: bool) -> None:
    colour = style.ROLE_COLOURS["positive_control" if truth else "method"]
    x = np.arange(values.shape[1])
    if len(values) > 1:
        axes.plot(x, values.to_numpy().T, color="#b9bfc7", lw=0.8, zorder=1)
    axes.plot(x, values.mean().to_numpy(), "-o", color=colour, lw=1.8, ms=3.5, zorder=2)
    for replicate, point in marked[["replicate", "grid_point"]].itertuples(index=False):
        if replicate in values.index:
            y = values.loc[replicate, point]
            at = list(values.columns).index(point)
            axes.plot(at, y, "o", ms=7, mfc="none", mec=style.INK, mew=1.1, zorder=3)
    axes.margins(y=0.16)
    axes.locator_params(axis="y", nbins=4)


def _strip(rules: pd.DataFrame, oracle: pd.DataFrame | None) -> list[tuple[str, str, Counter[str]]]:
    """Return (label, colour, grid point -> replicates) of every rule, then of the oracle."""
    used = set(rules.loc[rules["default"], "rule"])
    rows = [
        (
            RULE_WORDS[rule],
            style.ROLE_COLOURS["method"] if rule in used else style.QUIET,
            Counter(rules.loc[rules["rule"] == rule, "grid_point"]),
        )
        for rule in (*RULES, FIRST)
        if rule in set(rules["rule"])
    ]
    if oracle is not None:
        best = Counter(str(p) for p in oracle.dropna(how="all").idxmax(axis=1))
        rows.append((ORACLE_WORDS, style.ROLE_COLOURS["positive_control"], best))
    return rows


def _counts(axes: Axes, strip: list[tuple[str, str, Counter[str]]], points: list[str]) -> None:
    for y, (_, colour, counts) in enumerate(strip):
        for point, count in counts.items():
            axes.plot(points.index(point), y, "o", ms=11, color=colour, mew=0)
            axes.text(points.index(point), y, str(count), color="white", ha="center", va="center_baseline", fontsize=8)
    axes.set_yticks(range(len(strip)), [label for label, _, _ in strip])
    axes.set_ylim(len(strip) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _heading(plan: Plan, criterion: str) -> str:
    if criterion in CRITERIA:
        return f"{CRITERIA[criterion]} {style.ARROWS['lower' if LOWER_IS_BETTER[criterion] else 'higher']}"
    declared = plan["metrics"][entries_of(plan, criterion)[0]]
    return f"{declared['label']} {style.ARROWS[declared['better']]}, seen by no rule"
