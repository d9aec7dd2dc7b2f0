"""Train stage: fit all members of one shard together, from training cells alone."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from scident import io, registry, rng, selection
from scident.errors import reason_of
from scident.info import ModelInfo
from scident.models.base import Fitted, Member, Model
from scident.stages._choose import Extra, Point, by_criterion, criteria, extras
from scident.stages._cost import measured
from scident.stages._members import Spec, member_id, members_table, model_class, save_states, status

log = logging.getLogger(__name__)

OUTPUTS = ("model.pt", "members.parquet", "history.parquet", "status.json")


def run(spec: Spec, train: Path, out: Path, checkpoints: Path | None = None) -> None:
    """Fit the members of a shard and write model, members, history and status.

    Where the model has a grid, each grid point is also judged by the criteria of `scident.selection`. Where
    perturbations are held out, the members of the chosen grid point are trained a second time if the model says so.

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
    info = registry.describe("models", spec["use"])
    assert isinstance(info, ModelInfo)
    with measured() as costs:
        members = _members(spec, io.read_data(train))
        keys = [(r, list(spec["grid"])[g]) for r, g, _ in spec["members"]]
        one_each = dict(zip(reversed(keys), reversed(members), strict=True))
        extra = extras(spec, one_each) if info.adapts and len(spec["grid"]) > 1 else []
        log.info("training %s: %d members, %d to choose a grid point", spec["model"], len(members), len(extra))
        kind = model_class(spec["use"])
        fitted = kind.fit_members([*members, *(e.member for e in extra)], checkpoints)
        own, others = fitted[: len(members)], fitted[len(members) :]
        judged = _judge(keys, members, own, list(zip(extra, others, strict=True)), len(spec["grid"]))
        again: dict[str, Fitted] = {}
        if info.adapts or kind.retrains:
            chosen = _chosen(spec, judged)
            good = [i for i, key in enumerate(keys) if key in chosen and own[i].model is not None]
            which = [i for i in good if _lacks_some(members[i].train)]
            prepared = _retrained(kind, [members[i] for i in which], [own[i] for i in which], spec, checkpoints)
            again = dict(zip([members[i].id for i in which], prepared, strict=True))
    everyone = [*members, *(e.member for e in extra)]
    _write(spec, out, _table(spec, everyone, fitted, again), everyone, fitted, again, (keys, judged), costs)


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


def _judge(
    keys: Sequence[Point],
    members: Sequence[Member],
    fitted: Sequence[Fitted],
    extra: Sequence[tuple[Extra, Fitted]],
    points: int,
) -> dict[Point, dict[str, float]]:
    """Return every criterion of every replicate and grid point; nothing where there is no choice."""
    if points < 2:
        return {}
    runs: dict[Point, list[tuple[Member, Fitted]]] = {}
    for key, member, one in zip(keys, members, fitted, strict=True):
        runs.setdefault(key, []).append((member, one))
    return criteria(runs, extra)


def _chosen(spec: Spec, judged: Mapping[Point, Mapping[str, float]]) -> set[Point]:
    """Return the grid point of each replicate that the configured rule chooses."""
    found, points = set(), list(spec["grid"])
    for replicate in {r for r, _, _ in spec["members"]}:
        values = by_criterion(judged, replicate)
        rule = selection.applicable(spec["selection"], values, points)
        found.add((replicate, selection.choose(rule, values, points) if rule else points[0]))
    return found


def _retrained(
    kind: type[Model], members: list[Member], fitted: list[Fitted], spec: Spec, checkpoints: Path | None
) -> list[Fitted]:
    """Train a second time; what a model raises costs it that training alone."""
    try:
        return kind.retrain_members(members, fitted, spec["published"], checkpoints)
    except Exception as error:
        log.exception("second training of %s failed", spec["model"])
        return [Fitted(None, reason_of(error)) for _ in members]


def _lacks_some(train: ad.AnnData) -> bool:
    """Return whether a perturbation of the dataset has no training cells."""
    labels = train.obs["perturbation"]
    return bool(labels.nunique() < len(labels.cat.categories))


def _table(spec: Spec, members: list[Member], fitted: list[Fitted], again: Mapping[str, Fitted]) -> pd.DataFrame:
    """Return contract ``members``: those the results are for, then those that only chose a grid point."""
    table = members_table(spec)
    extra = [
        {"member": m.id, "replicate": int(m.id[1:].split(".")[0]), "seed": 0, "fitted_as": m.id}
        | {"grid_point": list(spec["grid"])[int(m.id.split(".")[1][1:])], "role": "heldout_validation"}
        for m in members[len(table) :]
    ]
    table = pd.concat([table, pd.DataFrame(extra)], ignore_index=True) if extra else table
    table["status"] = ["ok" if f.model is not None else "failed" for f in fitted]
    table["reason"] = [f.reason for f in fitted]
    table["epochs"] = [f.epochs for f in fitted]
    table["retrained"] = [_outcome(again.get(m.id)) for m in members]
    used = [m.params.model_dump(mode="json") | {"resolved": f.resolved} for m, f in zip(members, fitted, strict=True)]
    table["params"] = [io.canonical(params) for params in used]
    return table


def _outcome(again: Fitted | None) -> str:
    if again is None:
        return "no"
    return "ok" if again.model is not None else f"failed:{again.reason}"


def _write(
    spec: Spec,
    out: Path,
    table: pd.DataFrame,
    members: list[Member],
    fitted: list[Fitted],
    again: Mapping[str, Fitted],
    judged: tuple[Sequence[Point], Mapping[Point, Mapping[str, float]]],
    costs: dict[str, float],
) -> None:
    wanted = zip(members, fitted, table["role"] == "member", strict=True)
    states = {m.id: f.model.state for m, f, kept in wanted if kept and f.model is not None}
    states |= {name: f.model.state for name, f in again.items() if f.model is not None}
    both = list(zip(members, fitted, strict=True))
    by_id = {m.id: m for m in members}
    passes = sum(m.train.n_obs * f.epochs_run for m, f in both)
    passes += sum(by_id[name].train.n_obs * f.epochs_run for name, f in again.items())
    extra: dict[str, Any] = {"cells_per_s": passes / costs["wall_s"]} if passes else {}
    sizes = [sum(np.size(v) for v in f.model.state.values()) for f in fitted if f.model is not None]
    extra["n_params"] = max(sizes, default=0)
    save_states(out / "model.pt", states)
    io.write_table(table, out / "members.parquet", "members")
    rows = [_curve(m.id, "train", f.history) for m, f in both]
    rows += [_curve(name, "retrain", f.history) for name, f in again.items()]
    rows += [
        _curve(m.id, "select", [(f.epochs, name, value) for name, value in judged[1].get(key, {}).items()])
        for key, (m, f) in zip(judged[0], both, strict=False)
    ]
    history = [row for curve in rows for row in curve]
    frame = pd.DataFrame(history) if history else io.empty_table("history")
    io.write_table(frame, out / "history.parquet", "history")
    io.write_json(status("train", table, costs | extra, _hashes(spec)), out / "status.json")


def _curve(member: str, phase: str, history: Sequence[tuple[int, str, float]]) -> list[dict[str, Any]]:
    return [
        {"member": member, "epoch": epoch, "phase": phase, "quantity": quantity, "value": value}
        for epoch, quantity, value in history
    ]


def _hashes(spec: Spec) -> dict[str, str]:
    return {"hash_code": spec["hash_code"], "hash_config": io.digest_of([spec["grid"], spec["n_latents"]])}
