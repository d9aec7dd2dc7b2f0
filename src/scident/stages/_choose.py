"""Inside a train job: what each grid point is worth by criteria that see training and validation cells alone."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import anndata as ad
import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from scident import io, rng, selection
from scident.models.base import Fitted, Member, Model
from scident.params import PluginParams
from scident.stages._members import Spec

log = logging.getLogger(__name__)

VALIDATION_SHARE = 0.1
"""Of the training perturbations, kept from the extra members."""
FEWEST = 2
"""Fewer validation perturbations than this say nothing."""
CELLS = 2_000
"""Training cells on which the latents of two seeds are matched."""
SAMPLES = 100
"""Samples behind the importance-weighted bound of validation perturbations."""

Point = tuple[int, str]
"""Replicate and grid point."""


@dataclass(frozen=True)
class Extra:
    """A member that did not see some of the training perturbations, and the cells of these."""

    member: Member
    point: Point
    fit: ad.AnnData
    score: ad.AnnData


def extras(spec: Spec, members: Mapping[Point, Member]) -> list[Extra]:
    """Return one extra member per replicate and grid point.

    Parameters
    ----------
    spec
        The train job's.
    members
        One member of each replicate and grid point, whose cells, parameters and number of latents the extra one takes.
    """
    names = {"dataset": spec["dataset"], "split": spec["split"]}
    worlds: dict[int, tuple[ad.AnnData, ...] | None] = {}
    found = []
    for (replicate, point), member in members.items():
        if replicate not in worlds:
            stream = rng.generator("train:validation", replicate=replicate, **names)  # no model: equal for all
            worlds[replicate] = _without_some(member.train, member.val, stream)
        world = worlds[replicate]
        if world is None:
            continue
        train, val, fit, score = world
        stream_names = {**names, "replicate": replicate, "model": spec["model"], "grid_point": point}
        extra = replace(
            member,
            id=f"r{replicate}.g{list(spec['grid']).index(point)}.v0",
            train=train,
            val=val,
            seed=rng.seed_sequence("train:validation", **stream_names),
            key=io.digest_of(["validation", member.key]),
        )
        found.append(Extra(extra, (replicate, point), fit, score))
    return found


def _without_some(
    train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator
) -> tuple[ad.AnnData, ad.AnnData, ad.AnnData, ad.AnnData] | None:
    """Return (train, val) without a tenth of the perturbations, and two halves of the training cells of that tenth."""
    treated = train.obs.loc[~train.obs["is_control"].to_numpy(dtype=bool), "perturbation"]
    names = np.unique(treated.astype(str).to_numpy())
    count = round(VALIDATION_SHARE * len(names))
    if count < FEWEST:
        return None
    held = rng.choice(names, count, replace=False)
    out, out_of_val = (cells.obs["perturbation"].isin(held).to_numpy() for cells in (train, val))
    if out_of_val.all():
        return None
    rows = rng.permutation(np.flatnonzero(out))
    halves = (io.subset(train, np.sort(half)) for half in np.array_split(rows, 2))
    return io.subset(train, ~out), io.subset(val, ~out_of_val), *halves


def criteria(
    members: Mapping[Point, Sequence[tuple[Member, Fitted]]], extra: Sequence[tuple[Extra, Fitted]]
) -> dict[Point, dict[str, float]]:
    """Return every criterion that can be computed, per replicate and grid point (see `selection.LOWER_IS_BETTER`)."""
    found: dict[Point, dict[str, float]] = {point: {} for point in members}
    for point, runs in members.items():
        last = [value for _, fitted in runs if (value := _last(fitted)) is not None]
        if last and len(last) == len(runs):
            found[point]["val_nelbo"] = float(np.mean(last))
        good = [(member, fitted.model) for member, fitted in runs if fitted.model is not None]
        if len(good) > 1:
            _note(found[point], "stability", partial(_stability, good))
    for one, fitted in extra:
        alive = any(own.model is not None for _, own in members[one.point])
        if alive and fitted.model is not None:
            _note(found[one.point], "heldout_validation", partial(_heldout, one, fitted))
    return found


def _note(values: dict[str, float], name: str, compute: Callable[[], float]) -> None:
    """Add a criterion unless it fails: a model that cannot be judged by it is not chosen by it."""
    try:
        value = compute()
    except Exception:
        log.exception("no %s", name)
        return
    if np.isfinite(value):
        values[name] = value


def _last(fitted: Fitted) -> float | None:
    curve = [value for _, quantity, value in fitted.history if quantity == "val_nelbo"]
    return curve[-1] if fitted.model is not None and curve else None


def _stability(runs: Sequence[tuple[Member, Model]]) -> float:
    """Return the mean MCC between seeds: matched on training cells, scored on validation cells."""
    first = runs[0][0]
    rows = np.linspace(0, first.train.n_obs - 1, min(CELLS, first.train.n_obs)).astype(int)
    few = io.subset(first.train, rows)
    latents = [(model.embed(few), model.embed(first.val)) for _, model in runs]
    pairs = combinations(latents, 2)
    return float(np.mean([_agreement((a[0], b[0]), (a[1], b[1])) for a, b in pairs]))


def _agreement(
    matched: tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]],
    scored: tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]],
) -> float:
    """Return the mean correlation of latents matched one to one on other cells; dead latents agree with nothing."""
    first = _correlation(*matched)
    row, column = linear_sum_assignment(-np.abs(first))
    values = np.sign(first[row, column]) * _correlation(*scored)[row, column]
    return float(np.maximum(values, 0).mean())


def _correlation(
    a: Float[np.ndarray, "cells one"], b: Float[np.ndarray, "cells other"]
) -> Float[np.ndarray, "one other"]:
    left, right = a - a.mean(0), b - b.mean(0)
    size = np.linalg.norm(left, axis=0)[:, None] * np.linalg.norm(right, axis=0)
    return np.asarray(np.divide(left.T @ right, size, out=np.zeros_like(size), where=size > 0))


def _heldout(extra: Extra, fitted: Fitted) -> float:
    """Return the bound on validation perturbations, their shifts fitted on half of their cells, nats per cell."""
    assert fitted.model is not None
    frozen = replace(extra.member, params=_only_frozen(extra.member.params))
    (ready,) = type(fitted.model).retrain_members([frozen], [fitted], published=False)
    if ready.model is None:
        return -np.inf
    stream = np.random.default_rng(extra.member.seed)
    adapted = ready.model.prepared().adapt(extra.fit, stream)
    bound = adapted.likelihood(extra.score, stream, SAMPLES).iwelbo
    assert bound is not None
    label = extra.score.obs["perturbation"].astype(str).to_numpy()
    return float(np.mean([bound[label == name].mean() for name in np.unique(label)]))


def _only_frozen(params: PluginParams) -> PluginParams:
    return params.model_copy(update={"retrain_epochs": 0})


def by_criterion(found: Mapping[Point, Mapping[str, float]], replicate: int) -> dict[str, dict[str, float]]:
    """Return criterion -> grid point -> value of one replicate."""
    own = {point: values for (r, point), values in found.items() if r == replicate}
    return {name: {p: v[name] for p, v in own.items() if name in v} for name in selection.LOWER_IS_BETTER}
