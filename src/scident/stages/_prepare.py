"""Prepare real data: leave bad cells aside and choose genes, by training cells alone.

All replicates of a dataset have the same genes, since one file holds the training cells of all. They are chosen on
cells that are training or validation cells in every replicate, so that no cell that some replicate holds back has a
say; with many replicates these are few. Which cells are good is asked after the parts are cut, so that a bad cell
moves no other from part to part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from scident import contracts, io, preparation
from scident.errors import ConfigError
from scident.params import Preparation

SEEN = ("train", "val")
UNUSED = "unused"
"""Part of cells that nobody trains on and nobody scores."""
FEWEST = 2
"""With fewer genes there is nothing that varies against anything."""


@dataclass
class Cut:
    """One replicate and the part of each of its cells."""

    replicate: int
    cells: ad.AnnData
    part: Shaped[np.ndarray, " cells"]
    heldout: Bool[np.ndarray, " cells"]

    def leave_aside(self, bad: Bool[np.ndarray, " cells"]) -> None:
        """Let nobody use these cells."""
        self.part[bad] = UNUSED
        self.heldout = self.heldout & ~bad

    @property
    def seen(self) -> Bool[np.ndarray, " cells"]:
        """Which cells training may see."""
        return np.isin(self.part, SEEN)


def prepare(cuts: Sequence[Cut], spec: Mapping[str, Any]) -> None:
    """Leave cells aside and genes out, as the dataset's entry says; it says nothing: change nothing.

    Raises
    ------
    ConfigError
        The data hold no counts, no cell is left to choose genes by, or too few genes are left.
    """
    wanted = Preparation(**spec.get("prepare", {}))
    where = f"datasets.{spec['dataset']}.prepare"
    if wanted == Preparation():
        return
    for one in cuts:
        if contracts.observation(one.cells) != "counts":
            raise ConfigError(f"{where} is for counts, but the data hold other numbers; remove it")
        one.leave_aside(~preparation.good_cells(one.cells, wanted))
    if not wanted.of_genes:
        return
    genes = cuts[0].cells.var_names[preparation.variable(_judged(cuts, where), wanted)]
    if len(genes) < FEWEST:
        raise ConfigError(
            f"{where} leaves {len(genes)} of {cuts[0].cells.n_vars} genes; ask for fewer cells by min_cells"
        )
    for one in cuts:
        one.cells = io.with_genes(one.cells, genes)
        one.leave_aside(~preparation.counted(one.cells))


def _judged(cuts: Sequence[Cut], where: str) -> pd.DataFrame:
    """Return the genes as cells show them that every replicate may see, on average over replicates."""
    names = [set(one.cells.obs_names[one.seen]) for one in cuts]
    common = set.intersection(*names)
    if len(common) < FEWEST:
        raise ConfigError(
            f"{where} chooses genes on cells that all {len(cuts)} replicates train on, and these are {len(common)}; "
            "use fewer replicates or milder filters"
        )
    rows = [np.flatnonzero(one.cells.obs_names.isin(common)) for one in cuts]
    tables = [preparation.gene_table(one.cells, own) for one, own in zip(cuts, rows, strict=True)]
    genes = tables[0].index
    return pd.DataFrame(
        {
            "cells": np.min([table["cells"].reindex(genes, fill_value=0) for table in tables], axis=0),
            "dispersion": np.mean([table["dispersion"].reindex(genes) for table in tables], axis=0),
        },
        genes,
    )
