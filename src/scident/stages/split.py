"""Stage split: cut each replicate's cells into parts and write what training may see.

Reads ``data/{dataset}/r*.h5ad``; writes ``split/{dataset}/{split}/`` parts.parquet, parts.sha256 and train.h5ad (cells
of the parts train and val of all replicates; every perturbation name, so that parameter tables have K rows; the genes
that everybody uses from here on).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from scident import io, mapped, registry, rng
from scident.contracts import OBS_COLUMNS
from scident.errors import ConfigError, ContractError, PluginError
from scident.stages._prepare import SEEN, UNUSED, Cut, prepare
from scident.types import condition_columns

log = logging.getLogger(__name__)

SHARES = (("train", 72), ("val", 8), ("fit", 10), ("score", 10))
"""Per cent of the cells of each training condition."""
HELDOUT_SHARES = (("heldout_fit", 50), ("heldout_score", 50))
"""Per cent of the cells of each held-out condition."""


def run(spec: Mapping[str, Any], data: Sequence[Path], parts: Path, train: Path, digest: Path) -> None:
    """Cut all replicates of a dataset.

    Parameters
    ----------
    spec
        dataset, name, use, protocol (heldout or released), params, replicates, plugins, prepare.
    data
        Files of the replicates, in the order of ``spec["replicates"]``.
    parts, train, digest
        Where to write the table of parts, the training cells, and the digest of the table.

    Raises
    ------
    ConfigError, ContractError, PluginError
        The split or the preparation does not fit the data, the replicates do not fit each other, or the plug-in breaks
        its word.
    """
    registry.register(spec.get("plugins", ()))
    module = registry.load("splits", spec["use"])
    params = module.Params(**spec["params"])
    cuts = []
    for replicate, path in zip(spec["replicates"], data, strict=True):
        adata = io.read_data(path)
        names = {"dataset": spec["dataset"], "replicate": replicate}
        stream = rng.generator("split", **names, split=spec["name"])
        drawn = rng.generator("split:assign", **names, split=spec["use"]) if module.info.paired else stream
        heldout, used = _held_out(module.assign(adata, params, drawn), adata, spec["use"])
        part = np.full(adata.n_obs, UNUSED, dtype=object)
        part[used] = cut(adata.obs[used], heldout[used], spec["protocol"], stream)
        cuts.append(Cut(replicate, adata, part, heldout))
    prepare(cuts, spec)
    for one in cuts:
        _need_training(one.part, spec)
    table = pd.concat([_table(one) for one in cuts], ignore_index=True)
    seen = [_training_cells(cuts.pop(0)) for _ in range(len(cuts))]  # what is cut out of it lets a replicate go
    io.write_h5ad(_stack(seen), train)
    io.write_table(table, parts, "parts")
    with io.atomic(digest) as temporary:
        temporary.write_text(io.digest(parts) + "\n")
    sizes = table["part"].value_counts()
    log.info("%s %s: %s", spec["dataset"], spec["name"], ", ".join(f"{name} {sizes[name]}" for name in sizes.index))


def _table(one: Cut) -> pd.DataFrame:
    columns = {"cell_id": one.cells.obs_names, "part": one.part, "heldout": one.heldout}
    return pd.DataFrame({"replicate": one.replicate, **columns})


def cut(
    obs: pd.DataFrame, heldout: Bool[np.ndarray, " cells"], protocol: str, rng: np.random.Generator
) -> Shaped[np.ndarray, " cells"]:
    """Name the part of every cell.

    Parameters
    ----------
    obs
        perturbation, context and any dose of each cell, index = cell names.
    heldout
        Which cells belong to held-out conditions.
    protocol
        heldout: every condition is cut in the same proportions, so that parts differ by chance alone; released: as
        published code does, 90 % train, the rest val, regardless of condition, and held-out cells are only scored.
    rng
        Source of randomness. Cells are taken in the order of their names, so the order of the file does not matter.

    Returns
    -------
    Part names, in the order of `obs`.
    """
    part = np.empty(len(obs), dtype=object)
    order = np.argsort(obs.index.to_numpy(dtype=str), kind="stable")
    inside, outside = order[~heldout[order]], order[heldout[order]]
    if protocol == "released":
        n_train = -(-9 * len(inside) // 10)  # ceil(0.9 N) without rounding error
        part[inside] = "train"
        part[rng.permutation(inside)[: len(inside) - n_train]] = "val"
        part[outside] = "heldout_score"
    else:
        for cells in _conditions(obs, inside):
            part[rng.permutation(cells)] = _shared_out(len(cells), SHARES, rng)
        for cells in _conditions(obs, outside):
            part[rng.permutation(cells)] = _shared_out(len(cells), HELDOUT_SHARES, rng)
    return part


def _conditions(obs: pd.DataFrame, cells: np.ndarray) -> Iterable[np.ndarray]:
    """Group row numbers by perturbation, context and any dose, groups in the order of their names."""
    keys = pd.DataFrame({name: obs[name].astype(str).to_numpy()[cells] for name in condition_columns(obs)})
    return (cells[rows] for _, rows in sorted(keys.groupby(list(keys)).indices.items()))


def _shared_out(
    cells: int, shares: Sequence[tuple[str, int]], rng: np.random.Generator
) -> Shaped[np.ndarray, " cells"]:
    """Repeat part names in proportion, each within one cell of its share.

    One random offset rounds all borders, so that small conditions give every part its share on average; rounding to
    the nearest would never put a cell of a five-cell condition into val.
    """
    percent = np.cumsum([0, *(share for _, share in shares)])
    borders = np.floor(percent * cells / 100 + rng.random()).astype(int)
    return np.repeat(np.array([name for name, _ in shares], dtype=object), np.diff(borders))


def _held_out(
    found: object, adata: ad.AnnData, use: str
) -> tuple[Bool[np.ndarray, " cells"], Bool[np.ndarray, " cells"]]:
    """Return which cells are held out, and which are used at all."""
    known = isinstance(found, pd.Series) and found.index.equals(adata.obs_names) and found.dtype in (bool, "boolean")
    if not known or not isinstance(found, pd.Series):
        raise PluginError(
            f"splits/{use}.py: assign must return a Series of bool (or boolean, NA for unused cells) with the cell "
            "names as index, in order"
        )
    return found.fillna(False).to_numpy(dtype=bool), found.notna().to_numpy()


def _need_training(part: Shaped[np.ndarray, " cells"], spec: Mapping[str, Any]) -> None:
    for name in SEEN:
        if not (part == name).any():
            raise ConfigError(
                f"splits.{spec['name']} leaves {spec['dataset']} no cell in the part {name!r} (of {len(part)} cells); "
                "hold out less or use more cells"
            )


def _training_cells(one: Cut) -> ad.AnnData:
    adata, part, rows = one.cells, one.part, np.flatnonzero(one.seen)
    if mapped.large(adata.X):  # training then maps each part as one stretch of the file
        rows = rows[np.argsort(part[rows] != SEEN[0], kind="stable")]
    obs = adata.obs.iloc[rows][[name for name in OBS_COLUMNS if name in adata.obs]].copy()
    obs.insert(0, "replicate", np.int64(one.replicate))
    obs.insert(1, "cell_id", adata.obs_names[rows].astype(str))
    obs.insert(2, "part", pd.Categorical(part[rows], categories=SEEN))
    obs.index = pd.Index([f"r{one.replicate}:{name}" for name in obs["cell_id"]])
    # selecting rows of a categorical keeps all its categories; AnnData views would drop those without cells
    x = mapped.take(adata.X, rows) if mapped.large(adata.X) else adata.X[rows]
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=adata.var_names), uns=dict(adata.uns))


def _stack(replicates: Sequence[ad.AnnData]) -> ad.AnnData:
    first = replicates[0]
    names = first.obs["perturbation"].cat.categories
    for other in replicates[1:]:
        same_names = other.obs["perturbation"].cat.categories.equals(names)
        if not (same_names and other.var_names.equals(first.var_names)):
            raise ContractError("replicates of one dataset must have the same genes and perturbation names, in order")
    large = any(mapped.large(one.X) for one in replicates)
    stacked = ad.concat([io.without_x(r) if large else r for r in replicates], merge="same", uns_merge="same")
    if large:
        stacked.X = mapped.stack([one.X for one in replicates])
    stacked.obs["perturbation"] = stacked.obs["perturbation"].cat.set_categories(names)
    return stacked
