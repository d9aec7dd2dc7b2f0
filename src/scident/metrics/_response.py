"""What metrics of response prediction share: R² and correlation of predicted and observed means, mean over conditions.

Every effect is taken against the observed mean of seen control cells, for observation and prediction alike: a predicted
control could be chosen to flatter (metrics.md §2f).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from scident.errors import NotApplicable
from scident.metrics.base import Expression, Inputs, Value
from scident.types import KINDS, condition_columns, parts_of

PANEL = "de50"
"""Name of the variant on the genes that change most."""
FLAT = 1e-9
"""An effect smaller than this share of expression is rounding: it has no direction."""

Genes = Float[np.ndarray, " genes"]


@dataclass(frozen=True)
class Condition:
    """One treated condition: what was observed and what is predicted, on some genes."""

    observed: Genes
    predicted: Genes
    sd: Genes
    """Over the observed cells."""
    control: Genes
    control_variance: Genes
    """Sampling variance of `control`."""
    centroid: Genes
    predicted_variance: Genes
    """Sampling variance of `predicted`; 0 where it averages no cells."""
    cells: int
    own_targets: Bool[np.ndarray, " genes"]
    """Genes that the perturbation's name names."""


@dataclass(frozen=True)
class Score:
    """What a metric says of one condition."""

    value: float
    attainable: float | None = None
    """Value that the true mean would get on so many observed cells; None: no closed form."""
    missing: str = ""
    """Why the condition has no value of its own."""


def mean_of(scores: Sequence[Score]) -> Value:
    """Return the unweighted mean of the conditions' values, median and sd in its note."""
    values = np.array([one.value for one in scores])
    said = {"median": np.median(values)}
    if len(values) > 1:
        said["sd"] = values.std(ddof=1)
    attainable = [one.attainable for one in scores if one.attainable is not None]
    if attainable:
        said["attainable"] = np.mean(attainable)
    note = ", ".join(f"{name}={number:.4g}" for name, number in said.items())
    return Value(float(values.mean()), None, len(values), note=note)


def values_of(
    inputs: Inputs,
    score: Callable[[Condition], Score],
    *,
    min_cells: int,
    reference: str = "",
    panels: tuple[str, ...] = ("",),
    overall: Callable[[Sequence[Any]], Value] = mean_of,
) -> list[Value]:
    """Score every kind of prediction on every panel of genes.

    Parameters
    ----------
    inputs
        Of one member.
    score
        The metric of one condition.
    min_cells
        Conditions with fewer scored cells are left out, for every method alike.
    reference
        What `score` reads beside observation and prediction: control or centroid; conditions without it are left out.
    panels
        Genes to score on: all (empty name) and `PANEL`.
    overall
        From what `score` says of all conditions to one value.

    Returns
    -------
    For each kind and panel one value per condition, then that of all, or why there is none. A kind that lacks a
    condition others are scored on has no overall value.
    """
    seen = inputs.expression
    if inputs.member.predictions is None:
        raise NotApplicable("no_prediction")
    if seen is None:
        raise NotApplicable("split_undefined")
    scored = seen.cells >= min_cells
    if not scored.any():
        raise NotApplicable("too_few_cells")
    if reference:
        scored &= np.isfinite(getattr(seen, reference)).all(axis=1)
        if not scored.any():
            raise NotApplicable({"control": "no_control", "centroid": "one_perturbation"}[reference])
    found: list[Value] = []
    names = _names(inputs, seen)
    for kind in KINDS:
        guess = _aligned(inputs, seen, kind)
        for panel in panels:
            variant = ":".join(part for part in (kind, panel) if part)
            rows = np.flatnonzero(scored & seen.panel.any(axis=1) if panel else scored)
            given = np.isfinite(guess.mean[rows]).all(axis=1)
            if not given.any():
                reason = "no_prediction" if len(rows) else "no_panel"
                found.append(Value(0.0, variant=variant, missing=reason))
                continue
            singles = {int(row): score(_condition(seen, guess, int(row), panel)) for row in rows[given]}
            found += _singles(seen, singles, names, variant)
            lost = not given.all()
            whole = Value(0.0, missing="incomplete_prediction") if lost else overall(list(singles.values()))
            found.append(replace(whole, variant=variant))
    return found


@dataclass(frozen=True)
class _Guess:
    """Predictions in the order of the observed conditions."""

    mean: Float[np.ndarray, "conditions genes"]
    """NaN where there is none."""
    variance: Float[np.ndarray, "conditions genes"]


def _aligned(inputs: Inputs, seen: Expression, kind: str) -> _Guess:
    """Return the predictions of a kind."""
    predictions = inputs.member.predictions
    assert predictions is not None
    own = np.flatnonzero(predictions.obs["kind"] == kind)
    columns = condition_columns(seen.obs)
    given, wanted = (
        pd.MultiIndex.from_frame(obs[columns].astype(str)) for obs in (predictions.obs.iloc[own], seen.obs)
    )
    place = given.get_indexer(wanted)
    guess = _Guess(np.full(seen.mean.shape, np.nan), np.zeros(seen.mean.shape))
    guess.mean[place >= 0] = predictions.mean[own[place[place >= 0]]]
    if predictions.variance is not None:
        guess.variance[place >= 0] = predictions.variance[own[place[place >= 0]]]
    return guess


def _singles(seen: Expression, scores: Mapping[int, Score], names: Sequence[str], variant: str) -> Iterator[Value]:
    for row, one in scores.items():
        found = Value(0.0, missing=one.missing) if one.missing else Value(one.value, None, int(seen.cells[row]))
        yield replace(found, perturbation=names[row], variant=variant)


def _condition(seen: Expression, guess: _Guess, row: int, panel: str) -> Condition:
    genes = seen.panel[row] if panel else np.ones(len(seen.genes), dtype=bool)
    named = set(parts_of(seen.obs["perturbation"].iloc[row]))
    targets = np.array([gene in named for gene in seen.genes], dtype=bool)
    return Condition(
        observed=seen.mean[row, genes],
        predicted=guess.mean[row, genes],
        predicted_variance=guess.variance[row, genes],
        sd=seen.sd[row, genes],
        control=seen.control[row, genes],
        control_variance=seen.control_variance[row, genes],
        centroid=seen.centroid[row, genes],
        cells=int(seen.cells[row]),
        own_targets=targets[genes],
    )


def _names(inputs: Inputs, seen: Expression) -> list[str]:
    """Name conditions in the table: the perturbation, before it the context and behind it the dose if they differ."""
    several = inputs.obs["context"].nunique() > 1
    before = [f"{context}/" if several else "" for context in seen.obs["context"]]
    behind = [f"@{dose}" for dose in seen.obs["dose"]] if "dose" in seen.obs else [""] * len(seen.obs)
    return [f"{b}{p}{e}" for b, p, e in zip(before, seen.obs["perturbation"], behind, strict=True)]


def r2(observed: Genes, predicted: Genes) -> float:
    r"""Coefficient of determination over genes, unclipped.

    .. math:: R^2 = 1 - \sum_g (y_g - \hat y_g)^2 / \sum_g (y_g - \bar y)^2

    Returns
    -------
    In (-∞, 1]; an observation without variance gives 1 if it is met exactly and 0 otherwise.
    """
    error = float(((observed - predicted) ** 2).sum())
    spread = float(((observed - observed.mean()) ** 2).sum())
    if spread == 0.0:
        return float(error == 0.0)
    return 1.0 - error / spread


def attainable_r2(observed: Genes, sd: Genes, cells: int) -> float | None:
    """Return the R² of the true mean: what sampling `cells` cells leaves of 1, in expectation."""
    spread = float(((observed - observed.mean()) ** 2).sum())
    return 1.0 - float((sd**2).sum()) / cells / spread if spread > 0.0 else None


def pearson(one: Genes, other: Genes, scale: float) -> float:
    """Return the correlation over genes; 0 by convention where either has no direction.

    Parameters
    ----------
    one, other
        Effects, in log-expression.
    scale
        Norm of the expression they are differences of: what is `FLAT` beside it is rounding.
    """
    a, b = one - one.mean(), other - other.mean()
    sizes = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(sizes) <= FLAT * scale:
        return 0.0
    return float(np.clip(a @ b / (sizes[0] * sizes[1]), -1.0, 1.0))
