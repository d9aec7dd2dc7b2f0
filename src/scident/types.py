"""Axis names used in every array annotation: cells, genes, perts, latents, factors, members, batch."""

import re
from dataclasses import dataclass
from typing import Literal

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

Latents = Float[np.ndarray, "cells latents"]
"""Estimated latents of some cells (posterior means), any unit."""

Factors = Float[np.ndarray, "cells factors"]
"""True latents of the same cells, in the simulator's units."""

Scores = Float[np.ndarray, "perts latents"]
"""How strongly each perturbation is believed to move each latent, any unit, higher is more."""

TargetMask = Bool[np.ndarray, "perts factors"]
"""Which true latents each perturbation moves."""

CellIndex = Int[np.ndarray, " chosen"]
"""Row numbers of some cells."""

Scope = Literal["iid", "ood", "insample", "val"]
"""Which cells a score is computed on (see `scident.metrics.base.SCOPES`)."""

Role = Literal["method", "ablation", "baseline", "positive_control", "negative_control"]
"""Why a model is in the benchmark."""


@dataclass(frozen=True)
class Targets:
    """What a model says about which latents each perturbation moves; rows in the order of the K perturbation names."""

    score: Scores
    on: Bool[np.ndarray, "perts latents"]
    """The model's own yes or no."""
    source: str
    """mask, shift or truth; derived if a metric computed them from the latents."""


@dataclass(frozen=True)
class Likelihood:
    """How well a model explains the counts of some cells, natural logarithms."""

    nelbo: Float[np.ndarray, " cells"]
    """Negative evidence lower bound, nats per cell, lower is better."""
    iwelbo: Float[np.ndarray, " cells"] | None = None
    """Importance-weighted bound on the log-likelihood, nats per cell, higher is better; None: not asked for."""


CONDITION = ("perturbation", "context", "dose")
"""Columns of obs that make a condition, the last where a dataset has it."""


def condition_columns(obs: pd.DataFrame) -> list[str]:
    """Return the columns of `CONDITION` that `obs` has."""
    return [name for name in CONDITION if name in obs]


def conditions_of(obs: pd.DataFrame) -> list[dict[str, str]]:
    """Return the labels of each row of `obs` that make its condition, as text."""
    columns = condition_columns(obs)
    return [dict(zip(columns, map(str, row), strict=True)) for row in obs[columns].itertuples(index=False)]


def parts_of(perturbation: str) -> tuple[str, ...]:
    """Return the single perturbations that a label combines: A+B is A and B; any other is itself, as (+)-JQ1."""
    return tuple(part for part in re.split(r"\+(?![^(]*\))", perturbation) if part) or (perturbation,)


KINDS = ("", "reconstruction", "counterfactual", "label_only")
"""What a predicted mean was made from: labels and seen cells alone (methods that have one way only); the scored cells
themselves, an upper bound and no prediction; seen control cells of the context and the labels; the labels alone."""


@dataclass(frozen=True)
class Request:
    """What is to be predicted, and from what."""

    seen: ad.AnnData
    """Training and validation cells; control cells of a context among them are ``is_control`` there."""
    scored: ad.AnnData
    """The cells that are scored: only kind ``reconstruction`` may read their expression."""
    conditions: pd.DataFrame
    """Treated conditions among the scored cells, in the columns of `CONDITION` that the data have; index 0, 1, …"""


@dataclass(frozen=True)
class Predictions:
    """Mean expression that a model predicts: the mean over cells of `scident.expression.log_normalised` expression."""

    obs: pd.DataFrame
    """The condition of each row as in `Request.conditions`, and its ``kind`` (one of `KINDS`)."""
    mean: Float[np.ndarray, "rows genes"]
    variance: Float[np.ndarray, "rows genes"] | None = None
    """Sampling variance of means that average cells, drawn or observed (s²/n); None: they average none."""
