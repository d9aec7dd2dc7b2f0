"""Which perturbations have the largest effect: energy distance to control cells in principal components.

Szekely & Rizzo (2013), J. Stat. Plan. Inference 143; as Lopez et al. (2023), CLeaR, chose the held-out perturbations of
the Norman screen.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from scident import contracts, preparation
from scident.errors import ConfigError
from scident.expression import dense
from scident.params import Preparation

CELLS = 500
"""Most cells of a perturbation in a context, the first by name."""
COMPONENTS = 50
GENES = 2000
"""Most genes that components are of: those that vary most among the cells that stay."""

Groups = Mapping[tuple[str, str], Int[np.ndarray, " _"]]
"""(context, perturbation) -> rows; the control cells of a context have the empty name."""


def strongest(adata: ad.AnnData, names: Sequence[str], count: int) -> list[str]:
    """Return the perturbations of largest effect.

    The components are those of cells that stay in training: first of all cells, then without every perturbation found
    so far, until no other is found. Draws nothing, so all replicates of a dataset get one answer.

    Parameters
    ----------
    adata
        All cells.
    names
        Perturbations to choose from.
    count
        How many.

    Raises
    ------
    ConfigError
        Fewer perturbations have two cells in a context with two control cells.
    """
    groups = _groups(adata)
    rows = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *groups.values()]))
    label = adata.obs["perturbation"].astype(str).to_numpy()[rows]
    places = {key: np.searchsorted(rows, own) for key, own in groups.items()}
    found: list[str] = []
    candidates: set[str] = set()
    while not found or not candidates.issuperset(found):
        candidates.update(found)
        stays = ~np.isin(label, sorted(candidates))
        expression = _expression(adata, rows, stays)
        size = min(COMPONENTS, int(stays.sum()) - 1, expression.shape[1] - 1)
        components = PCA(size, svd_solver="arpack", random_state=0).fit(expression[stays])
        effects = distances(components.transform(expression), places)
        known = sorted((name for name in names if name in effects), key=lambda name: (-effects[name], name))
        if len(known) < count:
            raise ConfigError(
                f"unseen_perturbation: strongest asks for {count} perturbations, but only {len(known)} have two cells "
                "in a context with two control cells to compare with; ask for fewer"
            )
        found = known[:count]
    return found


def distances(z: Float[np.ndarray, "cells components"], groups: Groups) -> dict[str, float]:
    """Return each perturbation's energy distance to the control cells of its context, mean over contexts.

    Unbiased: a perturbation without effect has 0 on average, however few its cells.
    """
    inner = {key: _within(z[own]) for key, own in groups.items() if len(own) > 1}
    found: dict[str, list[float]] = {}
    for (context, name), own in inner.items():
        if name and (context, "") in inner:
            between = float(cdist(z[groups[context, name]], z[groups[context, ""]]).mean())
            found.setdefault(name, []).append(2 * between - own - inner[context, ""])
    return {name: float(np.mean(values)) for name, values in found.items()}


def _within(z: Float[np.ndarray, "cells components"]) -> float:
    return float(cdist(z, z).sum() / (len(z) * (len(z) - 1)))


def _groups(adata: ad.AnnData) -> Groups:
    order = np.argsort(adata.obs_names.to_numpy(dtype=str), kind="stable")
    label = adata.obs["perturbation"].astype(str).where(~adata.obs["is_control"].to_numpy(dtype=bool), "")
    keys = pd.DataFrame({"context": adata.obs["context"].astype(str).to_numpy(), "label": label.to_numpy()})
    found = cast("Groups", keys.iloc[order].groupby(["context", "label"], sort=True).indices)
    return {key: order[own[:CELLS]] for key, own in found.items()}


def _expression(
    adata: ad.AnnData, rows: Int[np.ndarray, " cells"], stays: Bool[np.ndarray, " cells"]
) -> Float[np.ndarray, "cells genes"]:
    """Return log1p of counts per 10,000 of variable genes; all of X where it holds no counts."""
    if contracts.observation(adata) == "normal":
        return dense(adata[rows])
    genes = np.arange(adata.n_vars)
    if adata.n_vars > GENES:
        table = preparation.gene_table(adata, rows[stays])
        genes = preparation.variable(table, Preparation(top_genes=GENES))
    parts = (preparation.scaled(block)[:, genes].toarray() for block in preparation.blocks(adata, rows))
    found: np.ndarray = np.log1p(np.concatenate([part.astype(np.float32) for part in parts]))
    return found
