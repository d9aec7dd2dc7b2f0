"""Cells labelled by perturbation and context together, for models whose prior knows one label."""

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from scident.engine.batches import Cells
from scident.engine.stack import Stack
from scident.models._count_vae import CountVAENetwork
from scident.models._heldout import Prepared


def joined(cells: ad.AnnData) -> ad.AnnData:
    """Return the same cells with a perturbation for every pair of perturbation and context; expression is shared.

    Pairs are numbered perturbation by perturbation, those without cells too.
    """
    label, context = cells.obs["perturbation"].cat, cells.obs["context"].astype("category").cat
    contexts = len(context.categories)
    codes = label.codes.to_numpy(dtype=np.int64) * contexts + context.codes.to_numpy(dtype=np.int64)
    pairs = pd.Categorical.from_codes(codes.tolist(), categories=pd.RangeIndex(len(label.categories) * contexts))
    return ad.AnnData(cells.X, obs=cells.obs.assign(perturbation=pairs), var=cells.var, uns=dict(cells.uns))


def labelled(params: Any, cells: ad.AnnData) -> ad.AnnData:
    """Return the cells with the label the parameters name."""
    return joined(cells) if params.label == "context+perturbation" else cells


class PreparedIVAE(Prepared):
    """iVAE after its second training."""

    def _network(self, cells: ad.AnnData) -> tuple[CountVAENetwork, Stack, Cells]:
        return super()._network(labelled(self.params, cells))

    def adapt(self, cells: ad.AnnData, rng: np.random.Generator, published: bool = False) -> Prepared:
        """Return a copy with the shifts of the labels among `cells` fitted to them, as `Prepared.adapt` does."""
        return super().adapt(labelled(self.params, cells), rng, published)
