"""What models with blocks of latents recovered: which block holds what, what depends on what, what clusters by what."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.figure import Figure

from scident.aggregate.units import at_selection, entries_of
from scident.report import style
from scident.report.tables import to_html
from scident.report.view import Place, Plan, Tables, shown_points

BLOCKS = {"x": "z_x", "tx": "z_tx", "t": "z_t"}
LABELS = {"context": "context", "perturbation": "perturbation", "joint": "both together"}
EXPECTED = {
    ("x", "context"): "high",
    ("x", "perturbation"): "null",
    ("tx", "context"): "middle",
    ("tx", "perturbation"): "middle",
    ("tx", "joint"): "high",
    ("t", "context"): "null",
    ("t", "perturbation"): "high",
    ("t", "joint"): "middle",
}
"""How well clusters of a block should agree with a labelling (metrics.md §2d)."""
HYPOTHESES = {
    "z_x-t|x": True,
    "z_t-x|t": True,
    "z_x-z_tx|x": True,
    "z_t-z_tx|t": True,
    "z_x-z_t|x+t": True,
    "z_tx-t|x": False,
    "z_tx-x|t": False,
    "z_t-t": False,
    "z_x-x": False,
}
"""Statement -> whether the model says independent (True) or dependent (fcr.md §2, §10.2)."""
ALPHA = 0.05
MOSTLY = 0.5
"""A verdict is a test at 5 % in each member, so some of many go wrong by chance."""


@dataclass(frozen=True)
class Factorised:
    """The section of one place."""

    within: list[tuple[str, str, str]]
    """(name, caption, SVG) of each model's block matrix within conditions, the ideal first."""
    pooled: list[tuple[str, str, str]]
    clusters: Markup | None
    tests: Markup | None


def section(plan: Plan, found: Tables, place: Place, models: list[str]) -> Factorised | None:
    """Return the section of a place, None where no model has blocks."""
    summary = place.of(shown_points(found.summary, plan))
    known = summary[summary["status"] == "ok"]
    within, pooled = (list(_matrices(plan, known, place, models, scale)) for scale in ("within", "pooled"))
    clusters, tests = _clusters(plan, known, place, models), _tests(plan, found, place, models)
    if not (within or pooled or clusters or tests):
        return None
    return Factorised(within, pooled, clusters, tests)


def _matrices(
    plan: Plan, known: pd.DataFrame, place: Place, models: list[str], scale: str
) -> Iterator[tuple[str, str, str]]:
    """Draw R² of every true block from every learned one."""
    rows = known[known["metric"].isin(entries_of(plan, "block_matrix"))]
    cells = {
        (str(m), str(v)): float(mean) for m, v, mean in zip(rows["model"], rows["variant"], rows["mean"], strict=True)
    }
    drawn = []
    for model in models:
        values = np.array([[cells.get((model, f"{scale}:{b}<-{a}"), np.nan) for a in BLOCKS] for b in BLOCKS])
        if np.isfinite(values).any():
            drawn.append((f"blocks-{scale}-{place.slug}-{model}", str(plan["models"][model]["label"]), values))
    if drawn and scale == "within":
        drawn.insert(0, (f"blocks-{scale}-{place.slug}", "Ideal", np.eye(len(BLOCKS))))
    for name, caption, values in drawn:
        yield name, caption, matrix(values, name, f"Block matrix of {caption}")


def matrix(values: Float[np.ndarray, "blocks blocks"], name: str, title: str) -> str:
    """Draw R² of true blocks (rows) from learned blocks (columns), 0 white and 1 dark."""
    with style.look():
        figure = Figure(figsize=(1.7, 1.75), layout="constrained")
        axes = figure.subplots()
        colours = sns.color_palette("light:#0b3c68", as_cmap=True)
        axes.imshow(np.clip(values, 0, 1), cmap=colours, vmin=0, vmax=1, interpolation="none")
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if value > 0.5 else style.INK
            text = style.number(value) if np.isfinite(value) else "n/a"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
        names = list(BLOCKS.values())
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="learned", ylabel="true")
        axes.tick_params(length=0)
        return style.to_svg(figure, name, title)


def _clusters(plan: Plan, known: pd.DataFrame, place: Place, models: list[str]) -> Markup | None:
    """Return agreement of clusters with labels per block, and whether it is as the factorisation says."""
    metric = next((m for use in ("ami", "nmi", "ari") for m in entries_of(plan, use)), None)
    rows = known[known["metric"] == metric]
    cells = {
        (str(m), str(v)): float(mean) for m, v, mean in zip(rows["model"], rows["variant"], rows["mean"], strict=True)
    }
    table = []
    for model in models:
        row = {
            f"{b}.{label}": _verdict(cells.get((model, f"{b}:{label}")), cells.get((model, f"{b}:{label}:as_expected")))
            for b, label in EXPECTED
        }
        if any(row.values()):
            table.append({"model": _name(plan, model), **row})
    if not table:
        return None
    labels: dict[str, str] = {"model": Markup("{}").format(plan["metrics"][metric]["label"])}
    for (block, label), wanted in EXPECTED.items():
        heading = "{} by {}<small>should be {}</small>"
        labels[f"{block}.{label}"] = Markup(heading).format(BLOCKS[block], LABELS[label], wanted)
    return to_html(pd.DataFrame(table), f"clusters-{place.slug}", labels)


def _verdict(value: float | None, share: float | None) -> Markup:
    """Return a value and in what share of members it is as expected."""
    if value is None:
        return Markup("")
    if share is None:
        return Markup("{}").format(style.number(value))
    word = {1.0: "as expected", 0.0: "not as expected"}.get(share, f"as expected in {share:.0%}")
    kind = "passed" if share > MOSTLY else "failed"
    return Markup("{}<small class='{}'>{}</small>").format(style.number(value), kind, word)


def _tests(plan: Plan, found: Tables, place: Place, models: list[str]) -> Markup | None:
    """Return the effect behind each statement of independence, and how often its test rejects after Holm."""
    names = entries_of(plan, "hsic_strat")
    scores = at_selection(place.of(found.scores), found.selected)
    scores = scores[scores["metric"].isin(names) & (scores["status"] == "ok") & scores["perturbation"].isna()]
    table = []
    for model in (m for m in models if m in set(scores["model"])):
        own = scores[scores["model"] == model]
        row = {}
        for name, independent in HYPOTHESES.items():
            effect = own.loc[own["variant"] == f"{name}:effect", "value"]
            p = own.loc[own["variant"] == f"{name}:p_holm", "value"]
            row[name] = _test(effect, p, independent=independent)
        table.append({"model": _name(plan, model), **row})
    if not table:
        return None
    labels: dict[str, str] = {"model": "nHSIC"}
    for name, independent in HYPOTHESES.items():
        statement = name.replace("-", " ⟂ " if independent else " ⟂̸ ").replace("|x+t", " | x, t").replace("|", " | ")
        labels[name] = Markup("{}").format(" ".join(statement.split()))
    return to_html(pd.DataFrame(table), f"independence-{place.slug}", labels)


def _test(effect: "pd.Series[float]", p: "pd.Series[float]", *, independent: bool) -> Markup:
    if effect.empty:
        return Markup("")
    rejected = int((p < ALPHA).sum())
    good = rejected == 0 if independent else rejected == len(p)
    text = "{}<small class='{}'>{} of {} rejected</small>"
    return Markup(text).format(f"{effect.mean():.3f}", "passed" if good else "failed", rejected, len(p))


def _name(plan: Plan, model: str) -> Markup:
    entry = plan["models"][model]
    return Markup("<i class='dot {}'></i>{}").format(entry["role"], entry["label"])
