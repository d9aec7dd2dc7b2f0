"""Score stage: every metric on every member and scope of one dataset × split × model, one tidy row per value."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scident import io, registry, rng
from scident.contracts import TABLES
from scident.errors import NonFiniteError, NotApplicable, reason_of
from scident.info import MetricInfo
from scident.metrics.base import SCOPES_OF_PROTOCOL, Member, Value
from scident.stages._score_aligned import aligned_rows
from scident.stages._score_inputs import (
    Found,
    World,
    companions,
    find_members,
    inputs_for,
    read_member,
    read_world,
    replicate_of,
)
from scident.types import Scope

log = logging.getLogger(__name__)

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came of one metric: values, or a status with its reason."""

    status: str
    reason: str = ""
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Metric:
    """A metric entry of the configuration."""

    name: str
    use: str
    params: Mapping[str, Any]
    info: MetricInfo


def run(
    spec: Mapping[str, Any],
    infer: list[Path],
    data: list[Path],
    truth: list[Path],
    parts: Path,
    out: Path,
    aligned: Path,
) -> None:
    """Write the score table and the aligned target matrix of one run.

    Parameters
    ----------
    spec
        What the run is (dataset, split, model, protocol, replicates, seeds, grid_points), its metrics, and the hashes
        that go into every row.
    infer
        Folders of all shards of the infer stage.
    data, truth
        Files of the replicates, named ``r{replicate}.…``; `truth` is empty where none is known.
    parts
        Table of parts, with ``parts.sha256`` and ``train.h5ad``, which has the genes, beside it.
    out, aligned
        Tables ``scores`` and ``aligned`` to write.
    """
    started = time.monotonic()
    registry.register(spec["plugins"])
    files = {replicate_of(p): p for p in data}
    truths = {replicate_of(p): p for p in truth}
    table = io.read_table(parts, "parts")
    members = find_members(infer, product(spec["replicates"], spec["grid_points"], spec["seeds"]))
    rows: list[Row] = []
    matrices: list[pd.DataFrame] = []
    predicted = any("predictions" in metric.info.needs for metric, _ in _jobs(spec))
    genes = io.genes_of(parts.with_name("train.h5ad")) if predicted else None
    for replicate in spec["replicates"]:
        world = read_world(replicate, files[replicate], truths.get(replicate), table, genes)
        for grid_point in spec["grid_points"]:
            group = {seed: members[replicate, grid_point, seed] for seed in spec["seeds"]}
            scorer = _Group(spec, replicate, grid_point, world, group)
            rows += scorer.rows()
            if replicate == spec["replicates"][0]:
                matrices += _matrices(spec, world, scorer.members.values())
    _write(spec, rows, parts.with_name("parts.sha256").read_text().strip(), out)
    io.write_table(pd.concat(matrices) if matrices else io.empty_table("aligned"), aligned, "aligned")
    name = "/".join(spec[part] for part in ("dataset", "split", "model"))
    failed = sum(row["status"] == "failed" for row in rows)
    log.info("scored %s: %d rows, %d failed, %.1f s", name, len(rows), failed, time.monotonic() - started)


def _matrices(spec: Mapping[str, Any], world: World, members: Iterable[Member]) -> list[pd.DataFrame]:
    scope = SCOPES_OF_PROTOCOL[spec["protocol"]][0]
    try:
        return aligned_rows([inputs_for(world, scope, (member,), spec) for member in members], spec)
    except Exception:
        # It is a figure of the report: without it the scores are as good as before.
        log.exception("no target matrix for %s", spec["model"])
        return []


def write_failed(spec: Mapping[str, Any], out: Path, aligned: Path, reason: str) -> None:
    """Write the declared outputs of a job that came to nothing: every row it owes, failed."""
    rows = [
        {
            "replicate": r,
            "grid_point": g,
            "scope": scope,
            "seed": seed,
            "metric": metric.name,
            "hash_data": "",
            **fields,
        }
        for r, g, (metric, scope) in product(spec["replicates"], spec["grid_points"], list(_jobs(spec)))
        for seed in ([None] if metric.info.over == "seeds" else spec["seeds"])
        for fields in _fields(metric, scope, Outcome("failed", reason))
    ]
    _write(spec, rows, "", out)
    io.write_table(io.empty_table("aligned"), aligned, "aligned")


def _write(spec: Mapping[str, Any], rows: list[Row], hash_split: str, out: Path) -> None:
    hashes = {"hash_split": hash_split, "hash_config": spec["hash_config"], "hash_code": spec["hash_code"]}
    found = pd.DataFrame(rows) if rows else io.empty_table("scores")
    frame = found.assign(dataset=spec["dataset"], split=spec["split"], model=spec["model"], **hashes)
    io.write_table(frame[list(TABLES["scores"].columns)].astype({"seed": "Int64"}), out, "scores")


class _Group:
    """All seeds of one replicate and grid point."""

    def __init__(
        self, spec: Mapping[str, Any], replicate: int, grid_point: str, world: World, found: Mapping[int, Found]
    ) -> None:
        self.spec, self.replicate, self.grid_point, self.world = spec, replicate, grid_point, world
        self.members: dict[int, Member] = {}
        self.companions: dict[str, dict[int, Member]] = {}
        self.lost: dict[int, Outcome] = {}
        for seed, place in found.items():
            if place.folder is None:
                self.lost[seed] = Outcome(place.status, place.reason)
                continue
            try:
                key = (replicate, grid_point, seed)
                declared = {name: bool(spec[name]) for name in ("label_conditioned", "adapts")}
                member = read_member(place.folder, key, world, retrained=place.retrained, **declared)
                beside = companions(place.folder, member, world)
            except Exception as error:
                log.exception("cannot read member %s", place.folder)
                self.lost[seed] = Outcome("failed", reason_of(error))
                continue
            self.members[seed] = member
            for name, companion in beside.items():
                self.companions.setdefault(name, {})[seed] = companion

    def rows(self) -> list[Row]:
        """Return a row for every metric, scope, variant and seed, whatever happened; companions follow as variants."""
        rows: list[Row] = []
        for metric, scope in _jobs(self.spec):
            for name, members in {"": self.members, **(self.companions if metric.info.companions else {})}.items():
                together = metric.info.over == "seeds"
                found = self._over_seeds(metric, scope, members) if together else self._each(metric, scope, members)
                for seed, outcome in found:
                    fields = _fields(metric, scope, outcome)
                    rows += [self._row(metric, scope, seed, _named(row, name)) for row in fields]
        return rows

    def _each(
        self, metric: Metric, scope: Scope, members: Mapping[int, Member]
    ) -> Iterator[tuple[int | None, Outcome]]:
        known: tuple[Member, Outcome] | None = None
        for seed in self.spec["seeds"]:
            if seed in members:
                member = members[seed]
                if known is None or self.spec["stochastic"] or not _same(known[0], member):
                    known = member, self._score(metric, scope, (member,))
                yield seed, known[1]
            elif members is self.members:
                yield seed, self.lost[seed]

    def _over_seeds(
        self, metric: Metric, scope: Scope, members: Mapping[int, Member]
    ) -> Iterator[tuple[int | None, Outcome]]:
        lost = list(self.lost.values())
        if not lost:
            yield None, self._score(metric, scope, tuple(members.values()))
        elif all(outcome.status == "not_applicable" for outcome in lost):
            yield None, lost[0]
        else:
            yield None, Outcome("failed", "member_failed")

    def _score(self, metric: Metric, scope: Scope, members: tuple[Member, ...]) -> Outcome:
        """Run one metric; whatever it raises becomes a status."""
        if scope == "ood" and not (self.world.obs["part"] == "heldout_score").any():
            return Outcome("not_applicable", "split_undefined")
        names = {"dataset": self.spec["dataset"], "replicate": self.replicate, "split": self.spec["split"]}
        try:
            module = registry.load("metrics", metric.use)
            stream = rng.generator(f"score:{metric.name}", **names, seed=0)  # no model: equal draws for all methods
            inputs = inputs_for(self.world, scope, members, self.spec)
            values = tuple(module.score(inputs, module.Params(**metric.params), stream))
        except NotApplicable as refusal:
            return Outcome("not_applicable", refusal.reason)
        except NonFiniteError as error:
            return Outcome("failed", reason_of(error))
        except Exception as error:
            log.exception("metric %s failed on %s", metric.name, (*names.values(), self.spec["model"], scope))
            return Outcome("failed", reason_of(error))
        return Outcome("ok", values=values)

    def _row(self, metric: Metric, scope: Scope, seed: int | None, fields: Row) -> Row:
        where = {"replicate": self.replicate, "grid_point": self.grid_point, "scope": scope, "seed": seed}
        return {**where, "metric": metric.name, "hash_data": self.world.hash_data, **fields}


def _named(row: Row, companion: str) -> Row:
    """Add a companion's name to the variant of a row."""
    return {**row, "variant": ":".join(part for part in (row["variant"], companion) if part)}


def _same(one: Member, other: Member) -> bool:
    """Whether two members of a model that is fitted once are copies."""
    mine, others = (np.empty(0) if m.predictions is None else m.predictions.mean for m in (one, other))
    return np.array_equal(one.z, other.z) and np.array_equal(mine, others)


def _jobs(spec: Mapping[str, Any]) -> Iterator[tuple[Metric, Scope]]:
    for name, entry in spec["metrics"].items():
        info = registry.describe("metrics", entry["use"])
        assert isinstance(info, MetricInfo)
        metric = Metric(name, entry["use"], entry["params"], info)
        yield from ((metric, scope) for scope in SCOPES_OF_PROTOCOL[spec["protocol"]] if scope in info.scopes)


def _fields(metric: Metric, scope: Scope, outcome: Outcome) -> Iterator[Row]:
    """Yield what differs between rows of one outcome: one per value, or one per variant that has none."""
    empty = {"perturbation": None, "value": np.nan, "se": np.nan, "n": 0}
    given = {value.variant for value in outcome.values if value.perturbation is None}
    for variant in metric.info.variants_on(scope):
        if outcome.status != "ok":
            yield {**empty, "variant": variant, "status": outcome.status, "reason": outcome.reason}
        elif variant not in given:
            yield {**empty, "variant": variant, "status": "failed", "reason": "variant_missing"}
    for value in outcome.values:
        where = {**empty, "variant": value.variant, "perturbation": value.perturbation}
        if value.missing:
            yield {**where, "status": "not_applicable", "reason": value.missing}
        elif value.failed:
            yield {**where, "status": "failed", "reason": value.failed}
        elif not np.isfinite(value.value):
            yield {**where, "status": "failed", "reason": "nonfinite_score"}
        else:
            numbers = {"value": value.value, "se": np.nan if value.se is None else value.se, "n": value.n}
            yield {**where, **numbers, "status": "ok", "reason": value.note}
