"""What can be wrong or odd in a user's file: each function returns sentences that say what, where and what to do."""

from collections.abc import Iterator
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse

from scident import mapped
from scident.errors import nearest

FEW_CELLS = 10
"""A perturbation with fewer cells than this is odd: its scores rest on almost nothing."""
BLOCK = 2**22
"""Values looked at together, so that checking does not copy a whole matrix."""


def counts(adata: ad.AnnData) -> list[str]:
    """Judge X: finite whole numbers, none below 0, no cell without any."""
    if adata.n_obs == 0 or adata.n_vars == 0:
        return [f"has {adata.n_obs} cells and {adata.n_vars} genes; give a file with at least one of each"]
    wrong = not_counts(adata.X)
    if wrong is not None:
        return [f"X {wrong}; put the raw counts there{_elsewhere(adata)}"]
    empty = np.flatnonzero(totals(adata.X, 1) == 0)
    if len(empty):
        return [
            f"X has {len(empty):,} empty cells (first: {adata.obs_names[empty[0]]!r}), which have no likelihood; "
            "remove them, for example with `adata = adata[adata.X.sum(axis=1) > 0]`"
        ]
    return []


def totals(x: Any, axis: int) -> Float[np.ndarray, " sums"]:  # a dense or sparse matrix
    """Return the sums of genes (0) or cells (1); a mapped matrix is gone through in blocks of cells."""
    step = mapped.ROWS if mapped.large(x) else max(1, x.shape[0])
    sums = [np.asarray(x[start : start + step].sum(axis=axis)).ravel() for start in range(0, x.shape[0], step)]
    return np.asarray(np.concatenate(sums) if axis else np.sum(sums, axis=0), dtype=np.float64)


def not_counts(x: Any) -> str | None:  # a dense or sparse matrix, or None
    """Say why a matrix cannot hold counts, or None if it can."""
    if x is None:
        return "is empty"
    if not (np.issubdtype(x.dtype, np.number) and np.isrealobj(x.data if sparse.issparse(x) else x)):
        return f"holds values of type {x.dtype}, not numbers"
    nan = negative = broken = 0
    for values in _blocks(x):
        finite = np.isfinite(values)
        nan += int((~finite).sum())
        negative += int((values < 0).sum())
        broken += int((finite & (values != np.round(values))).sum())
    size = x.shape[0] * x.shape[1]
    if nan:
        return f"holds {nan:,} NaN or infinite values among {size:,}"
    if negative:
        return f"holds {negative:,} negative values among {size:,}, and counts cannot be below 0"
    if broken:
        return f"holds {broken:,} values that are not whole numbers (the largest is {x.max():.4g}), so not raw counts"
    return None


def names(cells: pd.Index, genes: pd.Index) -> list[str]:
    """Judge cell and gene names: each occurs once."""
    found = []
    for index, what, where in ((cells, "cell", "obs_names"), (genes, "gene", "var_names")):
        repeated = index[index.duplicated()].unique()
        if len(repeated):
            found.append(
                f"{where} repeats {len(repeated):,} {what} names (first: {repeated[0]!r}); "
                f"make them unique, for example with `adata.{where}_make_unique()`"
            )
    return found


def column(adata: ad.AnnData, role: str, key: str | None) -> list[str]:
    """Judge one obs column: it exists and every cell has a value."""
    if key is None:
        return []
    known = [str(c) for c in adata.obs.columns]
    if key not in known:
        return [
            f"obs has no column {key!r} for the {role}; found {known}, set `{role}` to one of them."
            + nearest(key, known)
        ]
    missing = int(adata.obs[key].isna().sum())
    if missing:
        return [
            f"obs[{key!r}] has no {role} label (NaN) for {missing:,} of {adata.n_obs:,} cells; "
            "label or remove these cells"
        ]
    labels = adata.obs[key].astype(str).unique()
    if role == "perturbation" and len(labels) == 1:
        return [
            f"obs[{key!r}] has a single label, {labels[0]!r}, and there is nothing to compare; "
            f"set `perturbation` to the column with the perturbations among {known}"
        ]
    return []


def control(adata: ad.AnnData, key: str, label: str | None, explicit: bool) -> tuple[list[str], list[str]]:
    """Judge the control label: one that was asked for must exist; having none at all is only odd."""
    labels = sorted(adata.obs[key].astype(str).unique())
    if label in labels:
        return [], []
    if label is not None and explicit:
        shown = ", ".join(repr(name) for name in labels[:5]) + (", …" if len(labels) > 5 else "")
        return [
            f"obs[{key!r}] has no control label {label!r}; found {len(labels)} labels ({shown}), "
            f"set `control` to one of them or to null if there are no controls.{nearest(label, labels)}"
        ], []
    usual = [name for name in labels if name.lower().replace("_", "-") in USUAL_CONTROLS]
    hint = f"; {usual[0]!r} looks like one, set `control` to it if it is" if usual else ""
    return [], [f"obs[{key!r}] names no controls, so scores that compare with controls will not apply{hint}"]


USUAL_CONTROLS = (
    *("control", "ctrl", "ctl", "nt", "non-targeting", "negctrl", "mock", "wt"),
    *("unperturbed", "untreated", "vehicle", "dmso"),
)
"""Names by which controls usually go, in lower case."""


def truth(adata: ad.AnnData, z_key: str, shift_key: str, labels: list[str]) -> list[str]:
    """Judge the true latents and shifts: they exist, are finite and agree in shape."""
    places = (("obsm", adata.obsm, z_key, "truth.z"), ("uns", adata.uns, shift_key, "truth.shift"))
    for where, store, key, option in places:
        known = [str(k) for k in store]
        if key not in known:
            return [
                f"{where} has no key {key!r} for the truth; found {known}, set `{option}` to one of them."
                + nearest(key, known)
            ]
    z, shift = np.asarray(adata.obsm[z_key]), np.asarray(adata.uns[shift_key])
    for where, array in ((f"obsm[{z_key!r}]", z), (f"uns[{shift_key!r}]", shift)):
        if not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
            return [f"{where} holds values that are not finite numbers; write the truth without gaps or remove `truth`"]
    wanted = (len(labels), *z.shape[1:])
    if z.ndim != 2 or shift.shape != wanted:
        return [
            f"uns[{shift_key!r}] is {_shape(shift)}, but {len(labels)} labels and obsm[{z_key!r}] ({_shape(z)}) "
            f"ask for {' × '.join(map(str, wanted))}; write one row per label and one column per latent"
        ]
    table = adata.uns[shift_key]
    unnamed = sorted(set(labels) - set(table.index.astype(str))) if isinstance(table, pd.DataFrame) else []
    if unnamed:
        return [f"uns[{shift_key!r}] lacks a row for {unnamed[0]!r}; index the table by the labels of the cells"]
    return []


def oddities(adata: ad.AnnData, key: str) -> list[str]:
    """Notice what is odd but usable."""
    found = []
    sizes = adata.obs[key].astype(str).value_counts()
    few = sizes[sizes < FEW_CELLS]
    if len(few):
        found.append(
            f"obs[{key!r}]: {len(few)} of {len(sizes)} labels have fewer than {FEW_CELLS} cells "
            f"(smallest: {few.index[-1]!r} with {few.iloc[-1]}), and their scores will say little"
        )
    silent = int((totals(adata.X, 0) == 0).sum())
    if silent:
        found.append(f"{silent:,} of {adata.n_vars:,} genes are 0 in every cell and only cost time")
    return found


def _elsewhere(adata: ad.AnnData) -> str:
    """Say where the raw counts are, if they are in the file."""
    for name, layer in adata.layers.items():
        if not_counts(layer) is None:
            return f" (layers[{name!r}] holds whole numbers: `adata.X = adata.layers[{name!r}]`)"
    if adata.raw is not None and not_counts(adata.raw.X) is None:
        return " (raw.X holds whole numbers: `adata = adata.raw.to_adata()`)"
    return ""


def _blocks(x: Any) -> Iterator[np.ndarray]:
    values = x.data if sparse.issparse(x) else np.asarray(x).reshape(-1)
    for start in range(0, len(values), BLOCK):
        yield values[start : start + BLOCK]


def _shape(array: np.ndarray) -> str:
    return " × ".join(map(str, array.shape)) or "a scalar"


def spread(values: np.ndarray | pd.Series) -> str:
    """Write min, median and max in one phrase."""
    return f"{np.min(values):,.0f} – {np.median(values):,.0f} – {np.max(values):,.0f}"
