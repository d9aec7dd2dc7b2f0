"""What was observed of expression: the means that predictions are compared with."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from scident import io
from scident.expression import Moments, Seen, moments
from scident.metrics.base import PREDICTED, SCOPES, Expression
from scident.types import Scope, condition_columns, conditions_of

PANEL = 50
"""Genes of a panel (fcr.md §7)."""
HALF = {"score": "fit", "heldout_score": "heldout_fit"}
"""Scored part -> the part of the same conditions that nobody scores: a panel is chosen on it where a condition has no
training cells, and `half_split` predicts its means."""


def observed(data: Path, part: Shaped[np.ndarray, " cells"], genes: Sequence[str]) -> dict[Scope, Expression]:
    """Return what was observed of these genes on each scope that scores treated cells, given the part of every cell."""
    cells = io.with_genes(io.read_data(data), genes)
    control = cells.obs["is_control"].to_numpy(dtype=bool)
    columns = condition_columns(cells.obs)
    seen = Seen.of(io.subset(cells, np.isin(part, ("train", "val"))))
    noise = dict(zip(seen.control.obs["context"], seen.control.variance, strict=True))
    found: dict[Scope, Expression] = {}
    for scope in PREDICTED:
        (scored,) = SCOPES[scope][1]
        own = moments(cells, (part == scored) & ~control, columns)
        if not len(own.cells):
            continue
        half = moments(cells, (part == HALF[scored]) & ~control, columns)
        rows = conditions_of(own.obs)
        found[scope] = Expression(
            obs=own.obs,
            genes=tuple(cells.var_names),
            cells=own.cells,
            mean=own.mean,
            sd=own.sd,
            control=_stacked([seen.controls.get(row["context"]) for row in rows], cells.n_vars),
            control_variance=_stacked([noise.get(row["context"]) for row in rows], cells.n_vars),
            centroid=_stacked([seen.centroid(row["context"]) for row in rows], cells.n_vars),
            panel=np.array([_panel(row, (seen.treated, half), seen.control) for row in rows]),
        )
    return found


def _stacked(rows: list[Float[np.ndarray, " genes"] | None], genes: int) -> Float[np.ndarray, "rows genes"]:
    return np.array([np.full(genes, np.nan) if row is None else row for row in rows])


def _panel(
    condition: Mapping[str, str], choices: tuple[Moments, Moments], controls: Moments
) -> Bool[np.ndarray, " genes"]:
    """Return the genes of largest Welch |t| against the seen controls of the context, on the first cells there are."""
    genes = np.zeros(controls.mean.shape[1], dtype=bool)
    against = np.flatnonzero(controls.obs["context"] == condition["context"])
    for cells in choices:
        own = np.flatnonzero((cells.obs == pd.Series(condition)).all(axis=1))
        if len(own) and len(against) and min(cells.cells[own[0]], controls.cells[against[0]]) > 1:
            change = np.abs(cells.mean[own[0]] - controls.mean[against[0]])
            error = np.hypot(*(m.sd[i] / np.sqrt(m.cells[i]) for m, i in ((cells, own[0]), (controls, against[0]))))
            t = np.divide(change, error, out=np.where(change > 0, np.inf, 0.0), where=error > 0)
            genes[np.argsort(-t, kind="stable")[:PANEL]] = True
            return genes
    return genes
