"""From a published h5ad file to the data contract, by what the dataset's `info` says of the file.

Columns, labels and sizes are judged before a single count is read, so that a wrong file is refused in seconds.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import Field

from scident import download, rng
from scident.datasets import _check, _counts, _labels
from scident.datasets._stored import opened, table
from scident.datasets.base import natural_order
from scident.errors import DataError
from scident.info import DatasetInfo, Size
from scident.params import PluginParams
from scident.types import CONDITION

log = logging.getLogger(__name__)

Judge = Callable[[str, str], None]
"""Told of a claim of `info` (cells, genes, perturbations, control, context, dose, batch) and how the file differs."""


SIZES = ("cells", "genes", "perturbations")


class PublishedParams(PluginParams):
    """What every published dataset lets one set."""

    path: str | None = Field(
        None,
        min_length=1,
        description="A local copy, or a part, of the published file, relative to the working directory; it is read as "
        "it is: no hash is checked, and numbers of cells, genes and perturbations other than the published ones are "
        "only warned of. null: the published file, downloaded unless the cache has it.",
    )
    max_per_condition: int | None = Field(
        None,
        ge=1,
        description="Most cells to keep of each perturbation (controls too), context and dose, drawn once and for all; "
        "null: all.",
    )


def _every_cell(obs: pd.DataFrame, cells: pd.DataFrame, params: Any) -> Bool[np.ndarray, " cells"]:
    return np.ones(len(obs), dtype=bool)


def _every_gene(var: pd.DataFrame, names: pd.Index, params: Any) -> Bool[np.ndarray, " genes"]:
    return np.ones(len(var), dtype=bool)


@dataclass(frozen=True)
class Layout:
    """What is peculiar to the file of one dataset, as functions."""

    relabel: Callable[[str], str] = str
    """From a label in the file to a clean one: genes of a combination joined by ``+``, empty for no perturbation known.
    It is asked once for each label that is not missing."""
    keep: Callable[[pd.DataFrame, pd.DataFrame, Any], Bool[np.ndarray, " cells"]] = _every_cell
    """Which cells to load, from obs of the file, the clean columns and the parameters."""
    genes: Callable[[pd.DataFrame, pd.Index, Any], Bool[np.ndarray, " genes"]] = _every_gene
    """Which genes to load, from var of the file, the clean names and the parameters: never by looking at counts."""


def load(info: DatasetInfo, layout: Layout, params: PublishedParams, cache: Path, file: int = 0) -> ad.AnnData:
    """Return a dataset: from its published file, downloaded unless the cache has it, or from ``params.path``.

    Parameters
    ----------
    info
        The dataset's own: files, columns, sizes.
    layout
        What is peculiar to its file.
    params
        The config entry's.
    cache
        Folder for downloads.
    file
        Which of ``info.files``.

    Raises
    ------
    DataError
        The file cannot be had or is not the one that `info` describes; unless its source publishes a hash, the cache
        then holds it no longer.
    """

    def warn(sentence: str) -> None:
        log.warning("%s: %s", info.label, sentence)

    if params.path is not None:
        return read(Path(params.path), info, layout, params, judging(info, True, warn))
    published = info.files[file]
    path = download.fetch(published, cache)
    try:
        return read(path, info, layout, params, judging(info, False, warn))
    except DataError as error:
        if not download.reject(published, cache):
            raise
        raise DataError(f"{error} (no longer in the cache: nobody publishes its checksum)") from error


def judging(info: DatasetInfo, part: bool, say: Callable[[str], None]) -> Judge:
    """Return what to do where a file differs from what `info` claims of it.

    Parameters
    ----------
    info
        The dataset's own.
    part
        Whether the file may be a part of the published one, so that its numbers may differ.
    say
        Told, in a sentence, of a difference that lets the file pass; any other raises DataError.
    """

    def judge(claim: str, sentence: str) -> None:
        if claim in info.unverified:
            say(f"{sentence}; what is registered was never verified")
        elif part and claim in SIZES:
            say(f"{sentence}; so it is not the published file, or not all of it")
        else:
            raise DataError(f"{sentence}; get the published file of {info.label} ({info.doi})")

    return judge


def read(path: Path, info: DatasetInfo, layout: Layout, params: PublishedParams, judge: Judge) -> ad.AnnData:
    """Read a local copy of a published file.

    Parameters
    ----------
    path
        The h5ad file.
    info, layout, params
        As for `load`.
    judge
        Told wherever the file differs from what `info` claims; what it lets pass is loaded as it is.

    Returns
    -------
    Counts (CSR, uint16 where they fit) and the columns perturbation (categorical, natural order), is_control, context,
    and dose and batch where the dataset has them. Cells without label and cells without counts are left out.

    Raises
    ------
    DataError
        The file cannot be read or used.
    """
    with opened(path) as file:
        obs, var = table(file, "obs"), table(file, "var")
        shape = _counts.shape(file["X"])
        if shape != (len(obs), len(var)):
            raise DataError(f"X is {shape[0]:,} × {shape[1]:,}, but obs has {len(obs):,} rows and var {len(var):,}")
        cells = _labels.clean(obs, info.columns, layout.relabel, judge)
        known = cells["perturbation"] != ""
        names = _labels.gene_names(var, info.columns)
        _compare("the file", _size(cells[known], *shape), info.stored, judge)
        rows = known.to_numpy() & layout.keep(obs, cells, params)
        columns = layout.genes(var, names, params)
        if not rows.any() or not columns.any():
            left = f"{rows.sum():,} of {shape[0]:,} cells and {columns.sum():,} of {shape[1]:,} genes"
            raise DataError(f"nothing is left to load: {left} are of the kind that is asked for")
        _compare("what is loaded", _size(cells[rows], int(rows.sum()), int(columns.sum())), info.loaded, judge)
        rows[rows] = _drawn(cells[rows], params.max_per_condition, info.label)
        for wrong in _check.names(obs.index[rows], names[columns]):
            raise DataError(wrong)
        counts = _counts.read(file["X"], rows, columns)
    return _assembled(counts, cells[rows], names[columns], f"{info.label}: {(~known).sum():,} unlabelled cells")


def _size(cells: pd.DataFrame, n_cells: int, n_genes: int) -> Size:
    return Size(cells=n_cells, genes=n_genes, perturbations=cells.loc[~cells["is_control"], "perturbation"].nunique())


def _compare(where: str, found: Size, said: Size, judge: Judge) -> None:
    for claim in SIZES:
        number, wanted = getattr(found, claim), getattr(said, claim)
        if wanted is not None and number != wanted:
            judge(claim, f"{where} has {number:,} {claim}, and {wanted:,} are expected")


def _drawn(cells: pd.DataFrame, most: int | None, label: str) -> Bool[np.ndarray, " cells"]:
    """Draw at most so many cells of each condition; the same ones in every replicate."""
    if most is None:
        return np.ones(len(cells), dtype=bool)
    order = rng.generator("data", dataset=label).permutation(len(cells))
    keys = [name for name in CONDITION if name in cells]
    turn = cells.iloc[order].groupby(keys, observed=True).cumcount().to_numpy()
    chosen = np.zeros(len(cells), dtype=bool)
    chosen[order[turn < most]] = True
    return chosen


def _assembled(counts: Any, cells: pd.DataFrame, names: pd.Index, remark: str) -> ad.AnnData:
    seen = np.diff(counts.indptr) > 0
    log.info("%s and %d cells without counts left out", remark, (~seen).sum())
    obs = cells[seen].copy()
    for name in set(obs) & {"context", "batch"}:
        obs[name] = pd.Categorical(obs[name])
    obs["perturbation"] = pd.Categorical(obs["perturbation"], categories=natural_order(obs["perturbation"].unique()))
    return ad.AnnData(counts if seen.all() else counts[seen], obs=obs, var=pd.DataFrame(index=names))
