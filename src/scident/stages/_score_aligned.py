"""The target matrix a reader sees: recovered targets on the axis of the true factors, of one typical seed."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scident.errors import NonFiniteError, NotApplicable
from scident.metrics import _cells
from scident.metrics._assign import Pairs, mcc
from scident.metrics._targets import aligned
from scident.metrics.base import Inputs

log = logging.getLogger(__name__)


def aligned_rows(candidates: list[Inputs], spec: Mapping[str, Any]) -> list[pd.DataFrame]:
    """Return the table ``aligned`` of the seed of median MCC (the lower one of two), or nothing without truth.

    Parameters
    ----------
    candidates
        One per seed that ran, all of one grid point, on the scope the latents are matched on.
    spec
        Names of dataset, split and model.
    """
    quality = [(value, i) for i, inputs in enumerate(candidates) if (value := _quality(inputs)) is not None]
    if not quality:
        return []
    chosen = candidates[sorted(quality)[(len(quality) - 1) // 2][1]]
    try:
        found = aligned(chosen)
    except (NotApplicable, NonFiniteError) as refusal:
        log.info("no target matrix for %s: %s", spec["model"], refusal)
        return []
    n_perts, n_factors = found.score.shape
    table = pd.DataFrame(
        {
            "dataset": spec["dataset"],
            "split": spec["split"],
            "model": spec["model"],
            "grid_point": chosen.member.grid_point,
            "seed": chosen.member.seed,
            "perturbation": np.repeat(np.asarray(chosen.perturbations, dtype=object), n_factors),
            "factor": np.tile(np.asarray(found.factors, dtype=np.int64), n_perts),
            "score": found.score.ravel(),
            "on": found.on.ravel(),
            "true": found.true.ravel(),
            "source": found.source,
        }
    )
    return [table]


def _quality(inputs: Inputs) -> float | None:
    try:
        pairs = Pairs(*_cells.truth(inputs), *_cells.latents(inputs, inputs.member))
    except (NotApplicable, NonFiniteError):
        return None
    insample = inputs.scope == "insample"
    return mcc(pairs, np.random.default_rng(0), insample=insample, draws=0).value
