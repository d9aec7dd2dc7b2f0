"""A data set plug-in that draws a large screen, block by block, so that it never stands in memory."""

from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field
from scipy import sparse

from scident import mapped
from scident.info import DatasetInfo
from scident.params import PluginParams

info = DatasetInfo(label="Made screen", source="this file", licence="none needed", organism="none")

BLOCK = 1_000


class Params(PluginParams):
    """Size."""

    cells: int = Field(300_000, ge=1, description="Number of cells.")
    genes: int = Field(8_000, ge=1, description="Number of genes.")
    perturbations: int = Field(100, ge=2, description="Number of perturbations, the first of which is the control.")
    filled: float = Field(0.3, gt=0, lt=1, description="Share of counts that are not 0.")


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return a screen in which every count is 0 or geometric, whatever the perturbation."""
    del cache
    names = [f"p{k:03}" for k in range(params.perturbations)]
    kind = pd.Categorical.from_codes(np.arange(params.cells) % len(names), names)
    obs = pd.DataFrame(
        {"perturbation": kind, "is_control": kind == names[0]}, index=[f"c{i}" for i in range(len(kind))]
    )
    obs["context"] = pd.Categorical(["all"] * len(kind))
    x = mapped.filed(_blocks(params), params.genes, np.dtype(np.uint16), most=params.cells * params.genes)
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(params.genes)]))


def _blocks(params: Params) -> Iterator[sparse.csr_matrix]:
    rng = np.random.default_rng(0)
    for start in range(0, params.cells, BLOCK):
        size = min(BLOCK, params.cells - start), params.genes
        x = sparse.csr_matrix(rng.random(size, dtype=np.float32) < params.filled)
        yield sparse.csr_matrix((rng.geometric(0.3, x.nnz).astype(np.uint16), x.indices, x.indptr), shape=size)
