"""Observed and predicted means of some conditions, for tests of response prediction."""

from dataclasses import replace

import numpy as np
import pandas as pd

from scident.metrics.base import Expression
from scident.types import KINDS, Predictions

GENES = 60


def expression(obs, rng, *, cells=100, genes=GENES, panel=10):
    """Random means of the conditions in `obs`, controls and centroid near them; the panel is the first genes.

    Cells have sd 0.8, and so have 200 control cells.
    """
    rows = len(obs)
    base = rng.gamma(2.0, 1.0, genes)
    mean = base + rng.normal(0, 0.5, (rows, genes))
    return Expression(
        obs=obs.astype(str).reset_index(drop=True),
        genes=tuple(f"g{j}" for j in range(genes)),
        cells=np.broadcast_to(np.asarray(cells, dtype=np.int64), rows).copy(),
        mean=mean,
        sd=np.full((rows, genes), 0.8),
        control=np.tile(base, (rows, 1)),
        control_variance=np.full((rows, genes), 0.8**2 / 200),
        centroid=np.tile(mean.mean(0), (rows, 1)),
        panel=np.tile(np.arange(genes) < panel, (rows, 1)),
    )


def predictions(seen, means, *kinds, variance=None):
    """The same means for each kind, rows in another order than observed."""
    order = np.arange(len(seen.obs))[::-1]
    obs = [seen.obs.iloc[order].assign(kind=kind) for kind in kinds or ("",)]
    each = [None if part is None else np.concatenate([part[order]] * len(obs)) for part in (means, variance)]
    return Predictions(pd.concat(obs, ignore_index=True), *each)


def with_responses(inputs, seed=0, kinds=KINDS):
    """Give inputs what metrics of response prediction read, on the scopes that score predictions."""
    if inputs.scope not in ("iid", "ood"):
        return inputs
    rng = np.random.default_rng(seed)
    scored = inputs.obs.iloc[inputs.score]
    count = scored[~scored["is_control"]].groupby(["perturbation", "context"], observed=True).size()
    if count.empty:
        return inputs
    seen = expression(count.index.to_frame(index=False), rng, cells=count.to_numpy())
    given = predictions(seen, seen.mean + rng.normal(0, 0.3, seen.mean.shape), *kinds)
    members = tuple(replace(member, predictions=given) for member in inputs.members)
    return replace(inputs, expression=seen, members=members)
