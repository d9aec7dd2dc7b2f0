"""Train stage: fit all members of one shard together, from training cells alone."""

import logging
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from scident import io, registry, rng
from scident.models.base import Fitted, Member
from scident.stages._cost import measured
from scident.stages._members import Spec, member_id, members_table, model_class, save_states, status

log = logging.getLogger(__name__)

OUTPUTS = ("model.pt", "members.parquet", "history.parquet", "status.json")


def run(spec: Spec, train: Path, out: Path, checkpoints: Path | None = None) -> None:
    """Fit the members of a shard and write model, members, history and status.

    Parameters
    ----------
    spec
        As `Plan.model_spec` gives it.
    train
        ``train.h5ad`` of the split: training and validation cells, no truth, no test cells.
    out
        Folder of the four outputs.
    checkpoints
        Folder where members are kept, so that an interrupted or extended benchmark trains only what is missing.
    """
    registry.register(spec["plugins"])
    with measured() as costs:
        members = _members(spec, io.read_data(train))
        log.info("training %s: %d members", spec["model"], len(members))
        fitted = model_class(spec["use"]).fit_members(members, checkpoints)
    _write(spec, out, members, fitted, costs)


def write_failed(spec: Spec, out: Path, reason: str) -> None:
    """Write the declared outputs of a job that came to nothing."""
    table = members_table(spec).assign(reason=reason)
    save_states(out / "model.pt", {})
    io.write_table(table, out / "members.parquet", "members")
    io.write_table(io.empty_table("history"), out / "history.parquet", "history")
    io.write_json(status("train", table, {}, _hashes(spec)), out / "status.json")


def _members(spec: Spec, cells: ad.AnnData) -> list[Member]:
    params = registry.load("models", spec["use"]).Params
    points = list(spec["grid"])
    worlds = {r: _world(cells, r) for r in {r for r, _, _ in spec["members"]}}
    members = []
    for r, g, s in spec["members"]:
        train, val, digest = worlds[r]
        names = {"dataset": spec["dataset"], "replicate": r, "split": spec["split"], "model": spec["model"]}
        names |= {"grid_point": points[g], "seed": s}
        key = io.digest_of([names, spec["grid"][points[g]], spec["n_latents"], spec["hash_code"], digest])
        stream = rng.seed_sequence("train", **names)
        point = params(**spec["grid"][points[g]])
        members.append(Member(member_id(r, g, s), train, val, point, spec["n_latents"], stream, key))
    return members


def _world(cells: ad.AnnData, replicate: int) -> tuple[ad.AnnData, ad.AnnData, str]:
    """Return (train, val, digest of both) of one replicate."""
    own = (cells.obs["replicate"] == replicate).to_numpy()
    train, val = (io.subset(cells, own & (cells.obs["part"] == part).to_numpy()) for part in ("train", "val"))
    return train, val, io.digest_cells(train) + io.digest_cells(val)


def _write(spec: Spec, out: Path, members: list[Member], fitted: list[Fitted], costs: dict[str, float]) -> None:
    table = members_table(spec)
    table["status"] = ["ok" if f.model is not None else "failed" for f in fitted]
    table["reason"] = [f.reason for f in fitted]
    table["epochs"] = [f.epochs for f in fitted]
    used = [m.params.model_dump(mode="json") | {"resolved": f.resolved} for m, f in zip(members, fitted, strict=True)]
    table["params"] = [io.canonical(params) for params in used]
    states = {m.id: f.model.state for m, f in zip(members, fitted, strict=True) if f.model is not None}
    history = [
        {"member": m.id, "epoch": epoch, "phase": "train", "quantity": quantity, "value": value}
        for m, f in zip(members, fitted, strict=True)
        for epoch, quantity, value in f.history
    ]
    passes = sum(m.train.n_obs * f.epochs_run for m, f in zip(members, fitted, strict=True))
    extra: dict[str, Any] = {"cells_per_s": passes / costs["wall_s"]} if passes else {}
    extra["n_params"] = max((sum(np.size(v) for v in s.values()) for s in states.values()), default=0)
    save_states(out / "model.pt", states)
    io.write_table(table, out / "members.parquet", "members")
    frame = pd.DataFrame(history) if history else io.empty_table("history")
    io.write_table(frame, out / "history.parquet", "history")
    io.write_json(status("train", table, costs | extra, _hashes(spec)), out / "status.json")


def _hashes(spec: Spec) -> dict[str, str]:
    return {"hash_code": spec["hash_code"], "hash_config": io.digest_of([spec["grid"], spec["n_latents"]])}
