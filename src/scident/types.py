"""Axis names used in every array annotation: cells, genes, perts, latents, factors, members, batch."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
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
