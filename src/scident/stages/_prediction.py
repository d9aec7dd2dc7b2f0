"""What models are asked to predict, and whether the answer fits."""

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Shaped

from scident import io
from scident.errors import NonFiniteError, NotApplicable
from scident.metrics.base import PREDICTED, SCOPES
from scident.models.base import Model
from scident.types import Predictions, Request, condition_columns


def predicted(
    model: Model, cells: ad.AnnData, part: Shaped[np.ndarray, " cells"], rng: np.random.Generator
) -> Predictions:
    """Ask a model for the scored conditions of a replicate and check its answer.

    Parameters
    ----------
    model
        A trained model that gives predictions.
    cells, part
        All cells of the replicate, and the part of each.
    rng
        Of whatever the model draws.

    Raises
    ------
    NotApplicable
        No treated cells are scored (``split_undefined``), or the model cannot predict any condition.
    """
    seen, scored = np.isin(part, ("train", "val")), np.isin(part, [p for s in PREDICTED for p in SCOPES[s][1]])
    treated = cells.obs[scored & ~cells.obs["is_control"].to_numpy(dtype=bool)]
    columns = condition_columns(cells.obs)
    labels = treated[columns].astype({"perturbation": str, "context": str})
    conditions = labels.drop_duplicates().sort_values(columns, ignore_index=True)
    if conditions.empty:
        raise NotApplicable("split_undefined")
    found = model.predict(Request(io.subset(cells, seen), io.subset(cells, scored), conditions), rng)
    if found.mean.shape != (len(found.obs), cells.n_vars):
        raise ValueError(
            f"predict must return one row of {cells.n_vars} genes per row of obs, got {found.mean.shape} for "
            f"{len(found.obs)} rows"
        )
    asked, given = (pd.MultiIndex.from_frame(f[columns].astype(str)) for f in (conditions, found.obs))
    if not given.isin(asked).all():
        raise ValueError("predict must answer for the conditions it was asked for and no others")
    if not len(found.obs):
        raise NotApplicable("no_prediction")
    if not np.isfinite(found.mean).all():
        raise NonFiniteError("predictions")
    return found
