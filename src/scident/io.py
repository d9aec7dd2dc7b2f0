"""The only reader and writer of files between stages: whole or not at all.

Tables and AnnData files are checked when they are read, tables also when they are written; the data stage checks what
it makes before it writes.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from jaxtyping import Shaped
from scipy import sparse

from scident import contracts, mapped
from scident.errors import ContractError
from scident.types import KINDS, Predictions, condition_columns


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; it becomes `path` if the block ends well and vanishes if it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """As `atomic`, for a whole folder; an older folder of that name is replaced."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def digest(path: Path) -> str:
    """Return the first 16 hex digits of the SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def digest_of(value: object) -> str:
    """Return the same kind of digest for anything JSON can hold."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def canonical(value: object) -> str:
    """Return JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, default=str)


def subset(cells: ad.AnnData, rows: Shaped[np.ndarray, " cells"]) -> ad.AnnData:
    """Copy some cells out; perturbation keeps all K categories, so that codes mean the same everywhere.

    Where X is mapped, so are the rows of it that are too many for memory.
    """
    with ad.settings.override(remove_unused_categories=False):
        if not mapped.large(cells.X):
            return cells[rows].copy()
        found = without_x(cells)[rows].copy()
        found.X = mapped.take(cells.X, np.arange(cells.n_obs)[rows])
        return found


def without_x(cells: ad.AnnData) -> ad.AnnData:
    """Return all of some cells but their expression."""
    return ad.AnnData(obs=cells.obs, var=cells.var, obsm=dict(cells.obsm), uns=dict(cells.uns))


def digest_cells(cells: ad.AnnData) -> str:
    """Return a digest of what a model can see of some cells: expression and the labels of their conditions."""
    labels = cells.obs[condition_columns(cells.obs)]
    content = hashlib.sha256(pd.util.hash_pandas_object(labels).to_numpy().tobytes())
    arrays = (cells.X.indptr, cells.X.indices, cells.X.data) if sparse.issparse(cells.X) else (cells.X,)
    for array in arrays:
        content.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    content.update(canonical([cells.obs["perturbation"].cat.categories.tolist(), dict(cells.uns)]).encode())
    return content.hexdigest()[:16]


def write_table(frame: pd.DataFrame, path: Path, name: str) -> None:
    """Write a parquet file that keeps the contract `name`."""
    checked = contracts.check_table(frame, name)
    with atomic(path) as temporary:
        checked.to_parquet(temporary, index=False)


def read_table(path: Path, name: str) -> pd.DataFrame:
    """Read a parquet file and check that it keeps the contract `name`."""
    try:
        return contracts.check_table(pd.read_parquet(path), name)
    except (ContractError, OSError) as error:
        error.add_note(f"while reading {path}")
        raise


def empty_table(name: str) -> pd.DataFrame:
    """Return a table of contract `name` without rows."""
    return pd.DataFrame({column: [] for column in contracts.TABLES[name].columns})


def write_h5ad(adata: ad.AnnData, path: Path) -> None:
    """Write an AnnData file, compressed lightly, but for an X too large for memory: such a one can be mapped."""
    large = mapped.large(adata.X)
    with atomic(path) as temporary:
        (without_x(adata) if large else adata).write_h5ad(temporary, compression="gzip", compression_opts=1)
        if large:
            mapped.write(temporary, adata.X)


def read_data(path: Path) -> ad.AnnData:
    """Read a dataset replicate or ``train.h5ad`` and check the data contract.

    Counts stored as small integers become float32, so that no arithmetic overflows; those of an X too large for memory
    stay as they are, mapped.
    """
    adata = _checked(path, contracts.check_data)
    if adata.X is not None and adata.X.dtype.kind in "iu" and not mapped.large(adata.X):
        adata.X = adata.X.astype(np.float32)
    return adata


def read_truth(path: Path) -> ad.AnnData:
    """Read a truth file and check its contract."""
    return _checked(path, contracts.check_truth)


def _checked(path: Path, check: Any) -> ad.AnnData:
    x = mapped.read(path)
    adata = ad.read_h5ad(path) if x is None else _around(x, path)
    try:
        check(adata)
    except ContractError as error:
        error.add_note(f"while reading {path}")
        raise
    return adata


def _around(x: mapped.CSR, path: Path) -> ad.AnnData:
    """Read all of an AnnData file but X."""
    with h5py.File(path, "r") as file:
        rest = {name: ad.io.read_elem(file[name]) for name in ("obs", "var", "obsm", "uns") if name in file}
    return ad.AnnData(x, **rest)


def write_json(value: Mapping[str, object], path: Path) -> None:
    """Write indented JSON with sorted keys."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    found: dict[str, Any] = json.loads(Path(path).read_text())
    return found


def write_latents(
    path: Path,
    cell_id: Shaped[np.ndarray, " cells"],
    z: Shaped[np.ndarray, "cells latents"],
    blocks: Sequence[str] | None = None,
) -> None:
    """Write ``latents.npz``: cell_id, z (cells × latents, float32) and the block name of each latent (empty: none)."""
    names = np.array([""] * z.shape[1] if blocks is None else list(blocks), dtype=np.str_)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, cell_id=np.asarray(cell_id, dtype=np.str_), z=z.astype(np.float32), blocks=names)


def read_latents(
    path: Path,
) -> tuple[Shaped[np.ndarray, " cells"], Shaped[np.ndarray, "cells latents"], tuple[str, ...] | None]:
    """Read (cell_id, z, block name of each latent or None) of ``latents.npz``."""
    with np.load(path, allow_pickle=False) as file:
        names = tuple(str(name) for name in file["blocks"])
        return file["cell_id"], file["z"], names if any(names) else None


def write_predictions(path: Path, predictions: Predictions, genes: Sequence[str]) -> None:
    """Write ``predictions.h5ad``: means in X (double, so that none moves by rounding), condition and kind in obs.

    Layer ``variance`` is there if the means have a sampling variance.
    """
    obs = predictions.obs.set_axis([str(row) for row in range(len(predictions.obs))])
    mean = predictions.mean.astype(np.float64)
    layers = {} if predictions.variance is None else {"variance": predictions.variance.astype(np.float64)}
    found = ad.AnnData(mean, obs=obs, var=pd.DataFrame(index=list(genes)), layers=layers)
    write_h5ad(_check_predictions(found), path)


def read_predictions(path: Path) -> tuple[Predictions, tuple[str, ...]]:
    """Read what a model predicts and the genes of its columns."""
    found = _checked(path, _check_predictions)
    obs = found.obs.reset_index(drop=True)
    labels = {name: obs[name].astype(str) for name in ("perturbation", "context", "kind")}
    mean, noise = np.asarray(found.X, dtype=np.float64), found.layers.get("variance")
    return Predictions(obs.assign(**labels), mean, noise), tuple(found.var_names)


def _check_predictions(adata: ad.AnnData) -> ad.AnnData:
    obs, columns = adata.obs, {"perturbation", "context", "kind"}
    if not columns <= set(obs):
        raise ContractError(f"obs of a predictions file lacks {sorted(columns - set(obs))}; found {sorted(obs)}")
    unknown = sorted(set(obs["kind"].astype(str)) - set(KINDS))
    if unknown:
        raise ContractError(f"kind of a prediction must be one of {KINDS}, found {unknown}")
    twice = int(obs[[*condition_columns(obs), "kind"]].astype(str).duplicated().sum())
    if twice:
        raise ContractError(f"{twice} conditions are predicted twice by the same kind")
    if not np.isfinite(adata.X).all():
        raise ContractError("predictions must be finite numbers")
    noise = adata.layers.get("variance", np.zeros(0))
    if not (np.isfinite(noise).all() and (noise >= 0).all()):
        raise ContractError("the variance of predictions must be finite numbers, none below 0")
    return adata
