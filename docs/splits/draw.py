"""Draw what each split does: `python docs/splits/draw.py` writes one SVG per split beside this file.

A toy screen is cut by the package's own code. Each square is a condition; the stripes in it are as wide as the shares
of its cells in each part.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scident import contracts, registry
from scident.report import style
from scident.stages import split

COLOURS = {
    "train": "#0173b2",
    "val": "#7fb9d9",
    "fit": "#c8b6e2",
    "score": "#7a4fb5",
    "heldout_fit": "#f4c48a",
    "heldout_score": "#de8f05",
    "unused": "#e9ecef",
}
"""Part -> colour: blue is seen in training, violet and orange are not; the full tone is what is scored."""
CELLS = 50
"""Of each condition."""
SIZE = 0.88
"""Side of its square; squares lie 1 apart."""
GENES = tuple("ABCDEF")
Place = Callable[[pd.Series], tuple[str, str]]
"""From the labels of a condition to its row and column."""


def screen(labels: list[str], contexts: tuple[str, ...] = ("x", "y", "z"), doses: tuple[float, ...] = ()) -> ad.AnnData:
    """Return controls and labels in every context, at every dose if there are any; effects grow from A to F."""
    rows = [
        (label, context, dose if label != "control" else 0.0)
        for label in ["control", *labels]
        for context in contexts
        for dose in (doses if doses and label != "control" else (0.0,))
        for _ in range(CELLS)
    ]
    obs = pd.DataFrame(rows, columns=["perturbation", "context", "dose"], index=[f"c{i}" for i in range(len(rows))])
    obs["is_control"] = (obs["perturbation"] == "control").to_numpy()
    obs["perturbation"] = pd.Categorical(obs["perturbation"], categories=["control", *labels])
    if not doses:
        del obs["dose"]
    rate = np.tile(np.arange(2.0, 10.0), (len(obs), 1))
    for number, gene in enumerate(GENES):
        rate[(obs["perturbation"] == gene).to_numpy(), number] *= 1 + number / 2
    counts = np.random.default_rng(0).poisson(rate)
    counts[:, -1] += 1
    return ad.AnnData(counts.astype(np.float32), obs=obs)


def parts(adata: ad.AnnData, use: str, params: dict[str, Any], protocol: str = "heldout") -> pd.Series:
    """Return the part of every cell, cut as the split stage cuts."""
    module = registry.load("splits", use)
    rng = np.random.default_rng(1)
    held = module.assign(adata, module.Params(**params), rng)
    used = held.notna().to_numpy()
    found = pd.Series(split.UNUSED, index=adata.obs_names, dtype=object)
    found[used] = split.cut(adata.obs[used], held[used].to_numpy(dtype=bool), protocol, rng)
    return found


def by_context(row: pd.Series) -> tuple[str, str]:
    """Perturbations down, contexts across."""
    return row["perturbation"], row["context"]


def by_dose(row: pd.Series) -> tuple[str, str]:
    """Perturbations down, doses across."""
    return row["perturbation"], "0" if row["dose"] == 0 else f"{row['dose']:g}"


def by_partner(row: pd.Series) -> tuple[str, str]:
    """First gene down, second across; single genes and the control in a column of their own."""
    first, _, second = row["perturbation"].partition("+")
    return first, second or "–"


@dataclass(frozen=True)
class Panel:
    """One grid."""

    title: str
    params: dict[str, Any] = field(default_factory=dict)
    protocol: str = "heldout"


@dataclass(frozen=True)
class Picture:
    """One split: its grids and how conditions lie in them."""

    title: str
    adata: ad.AnnData
    panels: tuple[Panel, ...]
    place: Place = by_context
    across: str = "context"


SINGLES = list(GENES)
PAIRS = [f"{one}+{other}" for i, one in enumerate(GENES) for other in GENES[i + 1 :]]
PICTURES = {
    "iid": Picture(
        "Random cells", screen(SINGLES), (Panel("protocol: heldout"), Panel("protocol: released", {}, "released"))
    ),
    "unseen_perturbation": Picture(
        "Unseen perturbations", screen(SINGLES), (Panel("held_out: [B, E]", {"held_out": ["B", "E"]}),
        Panel("strongest: 2", {"strongest": 2}), Panel("last_n: 2, protocol: released", {"last_n": 2}, "released")),
    ),
    "unseen_combination": Picture(
        "Unseen combinations", screen(SINGLES + PAIRS, ("x",)),
        (Panel("share: 0.25"), *(Panel(f"fraction: {f:g}", {"fraction": f}) for f in (0.0, 0.5, 1.0))),
        by_partner, "second gene",
    ),
    "unseen_pair": Picture("Unseen pairs", screen(SINGLES), (Panel("share: 0.2"),)),
    "unseen_context": Picture("Unseen contexts", screen(SINGLES), (Panel("last_n: 1"),)),
    "unseen_dose": Picture(
        "Unseen doses", screen(SINGLES[:4], ("x",), (1.0, 10.0, 100.0)), (Panel("highest of each"),
        Panel("held_out: [10]", {"held_out": [10.0]})), by_dose, "dose",
    ),
    "low_data": Picture(
        "Few cells", screen([*SINGLES[:3], "A+B", "A+C"], ("x", "y")),
        (Panel("share: 0.5", {"share": 0.5}), Panel("share: 0.1"),
         Panel("share: 0, only: combinations", {"share": 0.0, "only": "combinations"})),
    ),
}  # fmt: skip


def draw(axes: Axes, picture: Picture, panel: Panel, use: str) -> set[str]:
    """Draw one grid and return the parts in it."""
    part = parts(picture.adata, use, panel.params, panel.protocol)
    places = picture.adata.obs.apply(picture.place, axis=1)
    rows, columns = (list(dict.fromkeys(place[i] for place in places)) for i in (0, 1))
    shares = part.groupby(places, sort=False).value_counts(normalize=True).unstack(fill_value=0.0)
    down, left = (np.array([names.index(place[i]) for place in shares.index]) for i, names in ((0, rows), (1, columns)))
    left = left - SIZE / 2
    for name in (name for name in COLOURS if name in shares):
        width = SIZE * shares[name].to_numpy()
        has = width > 0
        axes.barh(down[has], width[has], SIZE, left[has], color=COLOURS[name], linewidth=0)
        left = left + width
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(rows) - 0.4, -0.6), aspect="equal")
    axes.set_xlabel(picture.across)
    axes.set_title(panel.title, fontsize=8.5, color=style.INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return set(part)


def figure_of(use: str) -> Figure:
    """Draw all grids of a split, the legend beside them."""
    picture = PICTURES[use]
    figure = Figure(figsize=(1.9 * len(picture.panels) + 1.2, 2.6), layout="constrained")
    axes = figure.subplots(1, len(picture.panels), squeeze=False)[0]
    shown = set().union(*(draw(one, picture, panel, use) for one, panel in zip(axes, picture.panels, strict=True)))
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items() if name in shown]
    figure.legend(handles=handles, loc="outside right center", handlelength=0.8, handleheight=0.8)
    return figure


def main() -> None:
    """Write every picture."""
    assert set(COLOURS) == set(contracts.PARTS)
    for use, picture in PICTURES.items():
        with style.look():
            title = f"{picture.title}: the part of every cell of a toy screen"
            svg = style.to_svg(figure_of(use), use.replace("_", "-"), title)
        Path(__file__).with_name(f"{use}.svg").write_text(svg)


if __name__ == "__main__":
    main()
