"""Which cells are good and which genes vary, from counts alone.

A cell is judged by its own counts and fixed thresholds, so nothing is learned. Genes are judged by the cells they are
judged on and by no other: whoever calls gives training cells. Size factors need nothing of either kind, for expression
is counts per 10,000 of the cell's own total.
"""

from collections.abc import Iterator
from typing import TypeAlias

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import sparse

from scident.params import Preparation

ROWS = 2**10
"""Most cells looked at together."""
BINS = 20
"""Bins of mean expression in which genes are compared."""
MITOCHONDRIAL = ("MT-", "mt-")
"""How names of mitochondrial genes begin, in human and in mouse."""

Block: TypeAlias = sparse.csr_matrix


def good_cells(cells: ad.AnnData, wanted: Preparation) -> Bool[np.ndarray, " cells"]:
    """Return which cells pass the filters of quality."""
    if not wanted.min_counts and not wanted.min_genes and wanted.max_mito is None:
        return np.ones(cells.n_obs, dtype=bool)
    mito = cells.var_names.str.startswith(MITOCHONDRIAL)
    return np.concatenate([_good(block, mito, wanted) for block in blocks(cells, np.arange(cells.n_obs))])


def _good(x: Block, mito: Bool[np.ndarray, " genes"], wanted: Preparation) -> Bool[np.ndarray, " cells"]:
    total = _summed(x)
    good: np.ndarray = (total >= wanted.min_counts) & (np.diff(x.indptr) >= wanted.min_genes)
    return good if wanted.max_mito is None else good & (_summed(x[:, mito]) <= wanted.max_mito * total)


def counted(cells: ad.AnnData) -> Bool[np.ndarray, " cells"]:
    """Return which cells have any count."""
    return np.concatenate([np.diff(block.indptr) > 0 for block in blocks(cells, np.arange(cells.n_obs))])


def blocks(cells: ad.AnnData, rows: Int[np.ndarray, " chosen"]) -> Iterator[Block]:
    """Yield counts of some cells as doubles, a thousand cells at a time, without stored zeros."""
    for start in range(0, len(rows), ROWS):
        block = sparse.csr_matrix(cells.X[rows[start : start + ROWS]], dtype=np.float64)
        block.eliminate_zeros()
        yield block


def scaled(x: Block) -> Block:
    """Return counts per 10,000 of the cell's total."""
    factor = 1e4 / np.maximum(_summed(x), 1)
    return sparse.csr_matrix((x.data * np.repeat(factor, np.diff(x.indptr)), x.indices, x.indptr), shape=x.shape)


def _summed(x: Block) -> Float[np.ndarray, " cells"]:
    return np.asarray(x.sum(axis=1)).reshape(-1)


def gene_table(cells: ad.AnnData, rows: Int[np.ndarray, " chosen"]) -> pd.DataFrame:
    """Return of each gene in how many of some cells it is counted, and how much it varies among them.

    Parameters
    ----------
    cells
        Counts in X.
    rows
        The cells to judge by.

    Returns
    -------
    Index the genes; ``cells`` with a count; ``dispersion``, the logarithm of variance over mean of counts per 10,000,
    in standard deviations from its mean over genes of like expression; -inf of genes without a count.

    References
    ----------
    Satija et al. (2015), Nature Biotechnology 33 (Seurat).
    """
    seen, first, second = np.zeros((3, cells.n_vars))
    for block in blocks(cells, rows):
        values = scaled(block)
        seen += np.bincount(values.indices, minlength=cells.n_vars)
        first += np.bincount(values.indices, values.data, minlength=cells.n_vars)
        second += np.bincount(values.indices, values.data**2, minlength=cells.n_vars)
    mean = first / max(len(rows), 1)
    variance = np.maximum(second - len(rows) * mean**2, 0) / max(len(rows) - 1, 1)
    return pd.DataFrame({"cells": seen.astype(np.int64), "dispersion": _dispersion(mean, variance)}, cells.var_names)


def _dispersion(mean: Float[np.ndarray, " genes"], variance: Float[np.ndarray, " genes"]) -> np.ndarray:
    known = (mean > 0) & (variance > 0)
    found = np.full(len(mean), -np.inf)
    if known.any():
        raw = pd.Series(np.log(variance[known] / mean[known]))
        groups = raw.groupby(pd.cut(np.log1p(mean[known]), BINS, labels=False))
        centre, spread = groups.transform("mean"), groups.transform("std")
        lone = spread.isna() | (spread == 0)  # a gene without its like counts as one that varies
        found[known] = np.where(lone, 1.0, (raw - centre) / spread.where(~lone, 1.0))
    return found


def variable(table: pd.DataFrame, wanted: Preparation) -> Int[np.ndarray, " chosen"]:
    """Return the genes that `wanted` keeps by a `gene_table`, in its order."""
    kept = np.flatnonzero(table["cells"] >= wanted.min_cells)
    if wanted.top_genes is None:
        return kept
    ranked = kept[np.argsort(-table["dispersion"].to_numpy()[kept], kind="stable")]
    return np.sort(ranked[: wanted.top_genes])
