"""A user's own AnnData file."""

import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from pydantic import Field
from scipy import sparse

from scident import mapped
from scident.datasets import _check
from scident.datasets.base import natural_order
from scident.errors import DataError
from scident.info import DatasetInfo
from scident.params import PluginParams

info = DatasetInfo(
    label="Local file",
    source="the user's own AnnData file",
    licence="the user's",
    organism="as in the file",
    good_for="data of one's own",
)


class Truth(PluginParams):
    """Where a file with known latents keeps them."""

    z: str = Field(description="obsm key of the true latents (cells × latents).")
    shift: str = Field(
        description="uns key of the true shifts (perturbations × latents): an array with rows in natural order of the "
        "labels (or in the order of the column's categories, if that fits the latents better), or a table indexed by "
        "label."
    )


class Params(PluginParams):
    """Where the file is and which of its columns mean what."""

    path: str = Field(min_length=1, description="The .h5ad file, raw counts in X; relative to the working directory.")
    perturbation: str = Field("perturbation", description="obs key of the perturbation label of each cell.")
    control: str | None = Field(
        "control", description="Label of unperturbed cells; null: there are none. A label given here must exist."
    )
    context: str | None = Field(None, description="obs key of the cell line, type or donor; null: one context.")
    batch: str | None = Field(None, description="obs key of the batch; null: none.")
    truth: Truth | None = Field(None, description="Where the true latents are, if they are known; moved out of sight.")


def load(params: Params, cache: Path) -> ad.AnnData:
    """Read the file, check it, and keep what the benchmark needs.

    Parameters
    ----------
    params
        Path and keys.
    cache
        Not used: the file is local.

    Returns
    -------
    Counts and the columns perturbation (categorical, natural order), is_control, context and, if asked for, batch; the
    truth in obsm ``z_true`` and uns ``shift`` (rows in the order of the categories).

    Raises
    ------
    DataError
        The file cannot be used; one sentence that says what was found where and what to do.
    """
    del cache
    adata = read(Path(params.path))
    errors, _ = inspect(adata, params)
    if errors:
        more = f" (and {len(errors) - 1} more; `scident check` lists all)" if len(errors) > 1 else ""
        raise DataError(f"{params.path}: {errors[0]}{more}")
    return _kept(adata, params)


def read(path: Path) -> ad.AnnData:
    """Read an h5ad file without judging what it holds; of one with a large sparse X neither layers nor raw.

    Raises
    ------
    DataError
        There is no such file, or it is not AnnData.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise DataError(
            f"{path}: no such file (found {found} there); check the path, it counts from the folder you run in"
        )
    try:
        with h5py.File(path, "r") as file:
            missing = {"obs", "var"} - set(file)
            if missing:
                raise KeyError(f"HDF5 without the AnnData groups {sorted(missing)}")
            if mapped.stored_large(file.get("X")):
                parts = {name: ad.io.read_elem(file[name]) for name in ("obs", "var", "obsm", "uns") if name in file}
                return ad.AnnData(mapped.copied(file["X"]), **parts)
        with warnings.catch_warnings():
            # repeated names and old encodings are judged below, in our own words
            warnings.simplefilter("ignore", category=UserWarning)
            warnings.simplefilter("ignore", category=FutureWarning)
            warnings.simplefilter("ignore", category=PendingDeprecationWarning)
            return ad.read_h5ad(path)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        cause = str(error.args[0]).splitlines()[0] if error.args else type(error).__name__
        raise DataError(
            f"{path}: not a readable h5ad file ({cause}); write it with `adata.write_h5ad(...)` and try again"
        ) from error


def inspect(adata: ad.AnnData, params: Params) -> tuple[list[str], list[str]]:
    """Return what forbids using the file and what is merely odd, one sentence each, without the file's name."""
    errors = _check.counts(adata) + _check.names(adata.obs_names, adata.var_names)
    for role, key in (("perturbation", params.perturbation), ("context", params.context), ("batch", params.batch)):
        errors += _check.column(adata, role, key)
    notes = [] if errors else _check.oddities(adata, params.perturbation)
    if not errors:
        problems, remarks = _check.control(adata, params.perturbation, params.control, _explicit(params))
        errors, notes = problems, notes + remarks
    if params.truth is not None and not errors:
        labels = [str(name) for name in adata.obs[params.perturbation].astype(str).unique()]
        errors = _check.truth(adata, params.truth.z, params.truth.shift, labels)
    return errors, notes


def _explicit(params: Params) -> bool:
    return "control" in params.model_fields_set


def _kept(adata: ad.AnnData, params: Params) -> ad.AnnData:
    label = adata.obs[params.perturbation].astype(str)
    order = natural_order(label.unique())
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(label, categories=order),
            "is_control": (label == params.control).to_numpy(),
            "context": pd.Categorical(_text(adata, params.context)),
        },
        index=adata.obs_names.astype(str),
    )
    if params.batch is not None:
        obs["batch"] = pd.Categorical(_text(adata, params.batch))
    obs.index.name = None
    var = pd.DataFrame(index=pd.Index(adata.var_names.astype(str), name=None))
    kept = ad.AnnData(_expression(adata.X), obs=obs, var=var)
    if params.truth is not None:
        kept.obsm["z_true"] = np.asarray(adata.obsm[params.truth.z], dtype=np.float64)
        kept.uns["shift"] = _shift_rows(adata, params.perturbation, params.truth, order)
    return kept


def _expression(x: Any) -> Any:  # dense or sparse, as the file has it
    """Return single precision, or what is mapped from a file as it is."""
    if mapped.large(x):
        return x
    return (sparse.csr_matrix(x) if sparse.issparse(x) else np.asarray(x)).astype(np.float32, copy=False)


def _text(adata: ad.AnnData, key: str | None) -> list[str]:
    return ["all"] * adata.n_obs if key is None else adata.obs[key].astype(str).tolist()


def _shift_rows(adata: ad.AnnData, key: str, truth: Truth, order: list[str]) -> np.ndarray:
    """Put the rows of the shift into `order`; an array does not say whose row is which, so the latents decide."""
    found = adata.uns[truth.shift]
    if isinstance(found, pd.DataFrame):
        return found.rename(index=str).loc[order].to_numpy(dtype=np.float64)
    shift = np.asarray(found, dtype=np.float64)
    column = adata.obs[key]
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return shift
    own = [c for c in column.cat.categories.astype(str) if c in set(order)]
    by_category = shift[[own.index(name) for name in order]]
    means = pd.DataFrame(np.asarray(adata.obsm[truth.z])).groupby(column.astype(str).to_numpy()).mean().loc[order]
    centred = means.to_numpy() - means.to_numpy().mean(axis=0)
    fits = [((s - s.mean(axis=0) - centred) ** 2).sum() for s in (shift, by_category)]
    return shift if fits[0] <= fits[1] else by_category
