"""From the files of a run to what metrics look at: cells, truth, members, and the cells of each scope."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from scident import io, rng
from scident.contracts import OBS_COLUMNS
from scident.errors import ContractError
from scident.metrics.base import SCOPES, Expression, Inputs, Member
from scident.stages._expression import observed
from scident.types import CellIndex, Factors, Latents, Likelihood, Predictions, Scope, TargetMask, Targets

log = logging.getLogger(__name__)

CAP = 10_000
"""Most cells learned on and most cells scored; drawn once per dataset, replicate and split, equal for all methods."""

Key = tuple[int, str, int]
"""(replicate, grid point, seed)."""


@dataclass(frozen=True)
class World:
    """One dataset replicate: labels and parts of all its cells, and the truth where there is one."""

    obs: pd.DataFrame
    perturbations: tuple[str, ...]
    trained: Bool[np.ndarray, " perts"]
    hash_data: str
    z_true: Factors | None = None
    shift: Float[np.ndarray, "perts factors"] | None = None
    targets_true: TargetMask | None = None
    blocks_true: tuple[str, ...] | None = None
    expression: Mapping[Scope, Expression] = field(default_factory=dict)
    """Observed means of each scope that scores predictions; empty if nobody asked for them."""


@dataclass(frozen=True)
class Found:
    """Where a member's files lie, or why there are none."""

    folder: Path | None
    status: str = "ok"
    reason: str = ""
    retrained: str = "no"
    """As in `scident.metrics.base.Member`."""


def replicate_of(path: Path) -> int:
    """Return the number in ``r3.h5ad`` or ``r3.truth.h5ad``."""
    return int(path.name.split(".")[0].removeprefix("r"))


def read_world(
    replicate: int, data: Path, truth: Path | None, parts: pd.DataFrame, genes: Sequence[str] | None = None
) -> World:
    """Read labels, parts and truth of one replicate, and the means of some genes if any are asked for.

    Without them the counts, which may be large, stay on disk.

    Raises
    ------
    ContractError
        Cells of the data file have no part, or the truth is of other cells or perturbations.
    """
    with h5py.File(data) as file:
        cells = ad.io.read_elem(file["obs"])
    obs = cells[[name for name in OBS_COLUMNS if name in cells and name != "batch"]].copy()
    part = parts.loc[parts["replicate"] == replicate].set_index("cell_id")["part"].reindex(obs.index)
    if part.isna().any():
        raise ContractError(f"{data.name}: {int(part.isna().sum())} cells have no part; run the split stage again")
    obs["part"] = part.to_numpy()
    names = tuple(str(name) for name in obs["perturbation"].cat.categories)
    trained = np.isin(names, obs.loc[obs["part"] == "train", "perturbation"].astype(str).unique())
    means = {} if genes is None else observed(data, obs["part"].to_numpy(), genes)
    labels = (obs, names, trained, io.digest(data))
    if truth is None:
        return World(*labels, expression=means)
    known = io.read_truth(truth)
    if not known.obs_names.equals(obs.index) or [str(n) for n in known.uns["perturbations"]] != list(names):
        raise ContractError(f"{truth.name} is of other cells or perturbations than {data.name}; make both again")
    shift, targets = (np.asarray(known.uns[name]) if name in known.uns else None for name in ("shift", "targets"))
    blocks = tuple(str(name) for name in known.uns["blocks"]) if "blocks" in known.uns else None
    on = None if targets is None else targets.astype(bool)
    return World(*labels, np.asarray(known.obsm["z_true"]), shift, on, blocks, means)


def find_members(infer: Iterable[Path], wanted: Iterable[Key]) -> dict[Key, Found]:
    """Say of every member where its files are or why it failed; a member no job knows takes its failed job's reason."""
    found: dict[Key, Found] = {}
    lost = "no_output"
    for shard in infer:
        status = _status(shard)
        if status.get("status") != "ok":
            lost = str(status.get("reason") or "killed")
        table = _members(shard)
        for row in table[table["role"] == "member"].to_dict("records"):
            said = row if row["status"] != "ok" else status.get("members", {}).get(row["member"], row)
            folder = shard / row["member"]
            if said["status"] != "ok":
                place = Found(None, str(said["status"]), str(said["reason"]))
            elif not any((folder / name).is_file() for name in ("latents.npz", "predictions.h5ad")):
                place = Found(None, "failed", lost)
            else:
                place = Found(folder, retrained=row["retrained"])
            found[row["replicate"], row["grid_point"], row["seed"]] = place
    return {key: found.get(key, Found(None, "failed", lost)) for key in wanted}


def _status(shard: Path) -> Mapping[str, Any]:
    try:
        return io.read_json(shard / "status.json")
    except (OSError, ValueError):
        return {"status": "failed", "reason": "killed"}


def _members(shard: Path) -> pd.DataFrame:
    try:
        return io.read_table(shard / "members.parquet", "members")
    except (OSError, ContractError):
        return io.empty_table("members")


def read_member(
    folder: Path, key: Key, world: World, *, label_conditioned: bool, adapts: bool = False, retrained: str = "no"
) -> Member:
    """Read what a member gave, its rows brought into the order of the data file.

    Raises
    ------
    ContractError
        Files name other cells, perturbations or latents than they should.
    """
    cells = world.obs.index
    z, blocks = np.empty((len(cells), 0)), None
    if (folder / "latents.npz").is_file():
        z, blocks = _read_latents(folder / "latents.npz", cells)
    targets, likelihood, predictions = None, {}, None
    if (folder / "predictions.h5ad").is_file() and world.expression:
        genes = next(iter(world.expression.values())).genes
        predictions = _read_predictions(folder / "predictions.h5ad", genes)
    if (folder / "targets.parquet").is_file():
        targets = _read_targets(folder / "targets.parquet", world, z.shape[1])
    if (folder / "likelihood.parquet").is_file():
        table = io.read_table(folder / "likelihood.parquet", "likelihood")
        # Without a single value beside a known ELBO it was not asked for; without either the computation failed.
        asked = bool(table["iwelbo"].notna().any() or table["nelbo"].isna().all())
        likelihood = {str(protocol): _bounds(rows, cells, asked) for protocol, rows in table.groupby("protocol")}
    return Member(*key, z, targets, likelihood, label_conditioned, adapts, retrained, blocks, predictions)


def companions(folder: Path, member: Member, world: World) -> dict[str, Member]:
    """Return the member with the latents of each companion (`Model.companions`) in place of its own, and nothing else.

    Only its blocks stay: targets, likelihood and predictions are not the companion's.
    """
    found = {}
    for path in sorted(folder.glob("latents.*.npz")):
        z, blocks = _read_latents(path, world.obs.index)
        bare = replace(member, targets=None, likelihood={}, predictions=None)
        found[path.name.split(".")[1]] = replace(bare, z=z, blocks=blocks)
    return found


def _read_latents(path: Path, cells: pd.Index) -> tuple[Latents, tuple[str, ...] | None]:
    cell_id, z, blocks = io.read_latents(path)
    order = pd.Index(cell_id).get_indexer(cells)
    if z.ndim != 2 or len(z) != len(cell_id) or (order < 0).any():
        raise ContractError(f"shape: latents are {z.shape} and lack {int((order < 0).sum())} of {len(cells)} cells")
    return z[order], blocks


def _read_predictions(path: Path, genes: tuple[str, ...]) -> Predictions:
    found, named = io.read_predictions(path)
    order = pd.Index(named).get_indexer(pd.Index(genes))
    if len(named) != len(genes) or (order < 0).any():
        raise ContractError(f"shape: predictions of {len(named)} genes lack {int((order < 0).sum())} of {len(genes)}")
    noise = None if found.variance is None else found.variance[:, order]
    return replace(found, mean=found.mean[:, order], variance=noise)


def _bounds(rows: pd.DataFrame, cells: pd.Index, asked: bool) -> Likelihood:
    """Bring the bounds of one protocol into the order of the data file; without IWELBO if nobody asked for one."""
    nelbo, iwelbo = rows.set_index("cell_id")[["nelbo", "iwelbo"]].reindex(cells).to_numpy(dtype=np.float64).T
    return Likelihood(nelbo, iwelbo if asked else None)


def _read_targets(path: Path, world: World, n_latents: int) -> Targets | None:
    table = io.read_table(path, "targets")
    if table.empty:
        return None
    shape = (len(world.perturbations), n_latents)
    row = pd.Index(world.perturbations).get_indexer(pd.Index(table["perturbation"]))
    column = table["latent"].to_numpy()
    entry = row * n_latents + column
    inside = (row >= 0) & (column >= 0) & (column < n_latents)
    if not inside.all() or not np.array_equal(np.sort(entry), np.arange(shape[0] * shape[1])):
        raise ContractError(
            f"shape: {len(table)} target rows do not fill {shape[0]} perturbations × {shape[1]} latents"
        )
    order = np.argsort(entry)
    score, on = (table[name].to_numpy()[order].reshape(shape) for name in ("score", "on"))
    return Targets(score.astype(np.float64), on.astype(bool), str(table["source"].iloc[0]))


def inputs_for(world: World, scope: Scope, members: tuple[Member, ...], spec: Mapping[str, Any]) -> Inputs:
    """Gather what a metric looks at on one scope; the cells are the same for every method."""
    learn, scored = SCOPES[scope]
    if scope == "ood" and spec["protocol"] == "released":
        learn = ("train", "val")
    replicate = members[0].replicate
    names = {"dataset": spec["dataset"], "replicate": replicate, "split": spec["split"]}
    return Inputs(
        scope=scope,
        obs=world.obs,
        fit=_draw(world, learn, names),
        score=_draw(world, scored, names),
        perturbations=world.perturbations,
        trained=world.trained,
        members=members,
        z_true=world.z_true,
        shift=world.shift,
        targets_true=world.targets_true,
        blocks_true=world.blocks_true,
        seeds=tuple(spec["seeds"]),
        protocol=spec["protocol"],
        expression=world.expression.get(scope),
    )


def _draw(world: World, parts: tuple[str, ...], names: Mapping[str, str | int]) -> CellIndex:
    """Return at most `CAP` cells of some parts; the same parts give the same cells."""
    cells = np.flatnonzero(world.obs["part"].isin(parts))
    if len(cells) <= CAP:
        return cells
    stream = rng.generator("score:cells:" + ",".join(parts), **names, seed=0)
    return np.sort(stream.choice(cells, CAP, replace=False))
