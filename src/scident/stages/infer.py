"""Infer stage: let the trained members of one shard say what they give, for all cells."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scident import io, registry, rng
from scident.errors import NonFiniteError, NotApplicable, reason_of
from scident.info import ModelInfo
from scident.models.base import Model
from scident.stages._cost import measured
from scident.stages._expression import HALF
from scident.stages._likelihoods import World, likelihoods
from scident.stages._members import Spec, load_states, member_id, members_table, model_class, status
from scident.stages._prediction import predicted
from scident.types import Latents, Targets

log = logging.getLogger(__name__)


def run(spec: Spec, train: Path, data: Sequence[Path], truth: Sequence[Path], parts: Path, out: Path) -> None:
    """Write latents, targets, likelihoods and predictions of every member, and ``status.json``.

    Parameters
    ----------
    spec
        As `Plan.model_spec` gives it.
    train
        Folder the train stage wrote.
    data, truth
        One file per replicate of the benchmark, in order; `truth` is read for positive controls alone.
    parts
        ``parts.parquet`` of the split, with ``train.h5ad`` beside it, which has the genes: likelihoods and predictions
        are computed for cells that are scored.
    out
        Folder to write.
    """
    registry.register(spec["plugins"])
    info = registry.describe("models", spec["use"])
    assert isinstance(info, ModelInfo)
    fitted = {row["member"]: row for row in io.read_table(train / "members.parquet", "members").to_dict("records")}
    states = load_states(train / "model.pt")
    cut = io.read_table(parts, "parts")
    genes = io.genes_of(parts.with_name("train.h5ad"))
    table = written_members(spec, info.stochastic)
    with io.atomic_folder(out) as folder:
        with measured() as costs:
            known = truth if info.reads_truth else ()
            for replicate in sorted(set(table["replicate"])):
                world = World(replicate, data, known, cut, genes)  # one replicate in memory at a time
                for fit, rows in table[table["replicate"] == replicate].groupby("fitted_as"):
                    first, *copies = (folder / member for member in rows["member"])
                    source = fitted[str(fit)]
                    outcome = source["status"], source["reason"]
                    if outcome[0] == "ok":
                        outcome = _infer(spec, info, rows.iloc[0], states[str(fit)], world, first, source["retrained"])
                    for copy in copies if first.is_dir() else []:  # a deterministic model's one fit, under every seed
                        shutil.copytree(first, copy)
                    table.loc[rows.index, "status"], table.loc[rows.index, "reason"] = outcome
                    table.loc[rows.index, ["epochs", "retrained"]] = source["epochs"], source["retrained"]
        io.write_table(table, folder / "members.parquet", "members")
        hashes = {"hash_code": spec["hash_code"]}
        io.write_json(status("infer", table, costs, hashes), folder / "status.json")


def write_failed(spec: Spec, out: Path, reason: str) -> None:
    """Write the declared output of a job that came to nothing."""
    registry.register(spec["plugins"])
    info = registry.describe("models", spec["use"])
    assert isinstance(info, ModelInfo)
    with io.atomic_folder(out) as folder:
        table = written_members(spec, info.stochastic).assign(reason=reason)
        io.write_table(table, folder / "members.parquet", "members")
        io.write_json(status("infer", table, {}, {"hash_code": spec["hash_code"]}), folder / "status.json")


def written_members(spec: Spec, stochastic: bool) -> pd.DataFrame:
    """Return the members results are written for: a deterministic model's one fit stands under every seed."""
    table = members_table(spec)
    if stochastic:
        return table
    points = list(spec["grid"])
    copies = [table.assign(seed=seed) for seed in spec["seeds"]]
    full = pd.concat(copies, ignore_index=True)
    columns = zip(full["replicate"], full["grid_point"], full["seed"], strict=True)
    full["member"] = [member_id(r, points.index(g), s) for r, g, s in columns]
    return full.sort_values(["replicate", "grid_point", "seed"], ignore_index=True)


def _infer(
    spec: Spec,
    info: ModelInfo,
    row: pd.Series,
    state: dict[str, np.ndarray],
    world: World,
    folder: Path,
    retrained: str,
) -> tuple[str, str]:
    """Write one member's files and return (status, reason)."""
    try:
        params = registry.load("models", spec["use"]).Params(**spec["grid"][row["grid_point"]])
        model = model_class(spec["use"])(params, spec["n_latents"])
        model.state = state
        model.truth = world.truth
        if info.role == "positive_control" and spec["predict"]:
            model.other_half = io.subset(world.cells, world.rows(*HALF.values()))
        _write(spec, info, row, model, world, folder, retrained)
    except NotApplicable as reason:
        return "not_applicable", reason.reason
    except Exception as error:
        log.exception("%s failed on %s", spec["model"], row["member"])
        return "failed", reason_of(error)
    return "ok", ""


def _write(
    spec: Spec, info: ModelInfo, row: pd.Series, model: Model, world: World, folder: Path, retrained: str
) -> None:
    cells = world.cells
    names = {"dataset": spec["dataset"], "replicate": int(row["replicate"]), "split": spec["split"]}
    names |= {"model": spec["model"], "grid_point": row["grid_point"], "seed": int(row["seed"])}
    latents = _latents(model, world, names) if "latents" in info.gives else {}
    targets = model.targets() if "targets" in info.gives else None
    frame, means = None, None
    if "likelihood" in info.gives:
        frame = likelihoods(model, info, world, retrained, rng.generator("infer", **names), spec["iwelbo_samples"])
    if spec["predict"]:
        try:
            means = predicted(model, cells, world.part, rng.generator("infer:predictions", **names))
        except NotApplicable:
            if not latents:
                raise
    for name, z in latents.items():
        io.write_latents(folder / f"latents{name}.npz", cells.obs_names.to_numpy(), z, model.blocks())
    if targets is not None:
        names_of = cells.obs["perturbation"].cat.categories.to_numpy()
        io.write_table(targets_table(targets, names_of), folder / "targets.parquet", "targets")
    if frame is not None:
        io.write_table(frame, folder / "likelihood.parquet", "likelihood")
    if means is not None:
        io.write_predictions(folder / "predictions.h5ad", means, cells.var_names)


def _latents(model: Model, world: World, names: Mapping[str, Any]) -> dict[str, Latents]:
    """Return the latents of all cells and, behind ``.<name>``, those of each companion, made part by part."""
    found = {"": model.embed(world.cells)}
    if type(model).companions is not Model.companions:
        stream = rng.generator("infer:companions", **names)
        for part in np.unique(world.part):
            rows = world.part == part
            for name, z in model.companions(io.subset(world.cells, rows), stream).items():
                empty = np.full((len(rows), z.shape[1]), np.nan)
                found.setdefault(f".{name}", empty)[rows] = _checked(z, int(rows.sum()))
    return {name: _checked(z, world.cells.n_obs) for name, z in found.items()}


def _checked(z: Latents, cells: int) -> Latents:
    if z.ndim != 2 or len(z) != cells:
        raise ValueError(f"embed must return one row per cell, got shape {z.shape} for {cells} cells")
    if not np.isfinite(z).all():
        raise NonFiniteError("latents")
    return z


def targets_table(targets: Targets, perturbations: np.ndarray) -> pd.DataFrame:
    """Return one row per perturbation and latent."""
    perts, latents = targets.score.shape
    return pd.DataFrame(
        {
            "perturbation": np.repeat(perturbations, latents),
            "latent": np.tile(np.arange(latents), perts),
            "score": targets.score.ravel(),
            "on": targets.on.ravel(),
            "source": targets.source,
        }
    )
