"""Paired comparisons of the best method with each other one, over replicates of one dataset and split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from scident import rng as streams
from scident.aggregate.intervals import t_interval
from scident.aggregate.units import PREDICTED, floor_model, predicts

BLOCK = ["dataset", "split", "scope", "metric", "variant"]
RANKED_ROLES = ("method", "baseline")
ALPHA = 0.05
WILCOXON_FROM = 13
EXACT_UP_TO = 25
CLAIM_FROM = 5
FIRM_FROM = 10
MIN_SUCCESS = 0.5


def holm(p: Float[np.ndarray, " comparisons"]) -> Float[np.ndarray, " comparisons"]:
    r"""Adjust p values for several comparisons by Holm's step-down rule.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\, p_{(j)})

    Parameters
    ----------
    p
        Raw p values in [0, 1].

    Returns
    -------
    Adjusted p values in the order of `p`.

    References
    ----------
    Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6.
    """
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, (len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def rank_biserial(difference: Float[np.ndarray, " units"]) -> float:
    """Matched-pairs rank-biserial correlation: (rank sum of gains - rank sum of losses) / all ranks; 0 without any.

    Parameters
    ----------
    difference
        Paired differences, any unit; zeros keep their rank and count for neither side.

    Returns
    -------
    In [-1, 1]; 1 iff every unit gains.

    References
    ----------
    Kerby (2014), The Simple Difference Formula, Comprehensive Psychology 3.
    """
    ranks = stats.rankdata(np.abs(difference))
    return float((np.sign(difference) * ranks).sum() / ranks.sum())


def paired_test(difference: Float[np.ndarray, " units"], rng: np.random.Generator) -> tuple[str, float]:
    """Two-sided test that paired differences are centred at 0: paired t below 13 units, Wilcoxon signed-rank from 13.

    Parameters
    ----------
    difference
        One paired difference per unit, any unit of measurement.
    rng
        For the permutation null, used with ties, zeros or more than 25 units.

    Returns
    -------
    The test's name and its p value (NaN below two units).
    """
    n = len(difference)
    if n < 2:
        return "none", np.nan
    if n < WILCOXON_FROM:
        if np.ptp(difference) == 0:
            return "paired t", 1.0 if difference[0] == 0 else 0.0
        return "paired t", float(stats.ttest_1samp(difference, 0.0).pvalue)
    tied = len(np.unique(np.abs(difference))) < n or bool((difference == 0).any())
    if n <= EXACT_UP_TO and not tied:
        return "Wilcoxon signed-rank", float(stats.wilcoxon(difference, method="exact").pvalue)
    permutation = stats.PermutationMethod(n_resamples=9_999, rng=rng)
    found = stats.wilcoxon(difference, zero_method="zsplit", method=permutation)
    return "Wilcoxon signed-rank", float(found.pvalue)


def verdict(p_holm: float, units: int) -> str:
    """Say in words what an adjusted p value from so many paired units allows to claim."""
    if units < CLAIM_FROM:
        return f"no claim ({units} unit{'' if units == 1 else 's'})"
    if not p_holm < ALPHA:
        return "not separable"
    return "separated" if units >= FIRM_FROM else f"separated (provisional, {units} units)"


def compare(units: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Compare the best method or baseline with each other one.

    Parameters
    ----------
    units
        As `scident.aggregate.units.per_unit` gives, at each model's selected grid point.
    plan
        The benchmark's plan (roles and directions).

    Returns
    -------
    Contract ``ranks``. ``difference`` is the median paired difference in favour of the best, in the metric's unit;
    ``low`` and ``high`` the t interval of the mean paired difference; ``effect`` the rank-biserial correlation. Inside
    a unit's mean every failed seed counts as the floor, or as the unit's worst ranked value if that is worse, so that
    failing never helps; a method that failed in more than half of its rows is named but not ranked; not applicable is
    not compared. Baselines give one kind of prediction and models several: the kind that stands for a model is compared
    under the baselines' variant.
    """
    rows: list[dict[str, object]] = []
    for key, block in _one_kind(units[units["scope"] != "val"], plan).groupby(BLOCK, sort=True):
        names = dict(zip(BLOCK, map(str, key), strict=True))
        better = plan["metrics"].get(names["metric"], {}).get("better")
        if better in {"higher", "lower"}:
            rows += _compare_block(names, block, 1.0 if better == "higher" else -1.0, plan)
    return pd.DataFrame(rows)


def _one_kind(units: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Put the second of `PREDICTED` in the place of the first where a model has values of the second alone."""
    second = PREDICTED[1]
    metrics = [name for name in set(units["metric"]) if name in plan["metrics"] and predicts(plan, name)]
    panel = units["variant"].str.removeprefix(second).str.removeprefix(":")
    own = units["metric"].isin(metrics) & (units["variant"] != panel)
    stands = ~own & units["metric"].isin(metrics)
    place = [units[key] for key in (*BLOCK[:-1], "model")] + [panel]
    found = units["n_ok"].gt(0)
    lacking = ~(found & stands).groupby(place).transform("any") & (found & own).groupby(place).transform("any")
    return units.assign(variant=panel.where(own & lacking, units["variant"]))[~(stands & lacking)]


@dataclass(frozen=True)
class _Contest:
    """Replicates × models, larger is better, failed seeds filled; and those that may not be ranked."""

    gains: pd.DataFrame
    unranked: dict[str, str]


def _contest(block: pd.DataFrame, sign: float, plan: Mapping[str, Any], metric: str) -> _Contest:
    wide = {n: block.pivot(index="replicate", columns="model", values=n) for n in ("value", "n_ok", "n_failed")}
    values = sign * wide["value"]
    counts = block.groupby("model")[["n_ok", "n_failed"]].sum()
    tried = counts.index[counts.sum(axis=1) > 0]
    candidates = [m for m in tried if plan["models"][m]["role"] in RANKED_ROLES]
    success = counts["n_ok"] / counts.sum(axis=1)
    ranked = [m for m in candidates if success[m] >= MIN_SUCCESS]
    unranked = {m: f"{counts['n_ok'][m]}/{counts.loc[m].sum()}" for m in candidates if m not in ranked}
    gains = values.reindex(columns=ranked)
    floor = floor_model(sign * values.mean(), plan, metric)
    worst = gains.min(axis=1)
    if floor is not None:
        worst = pd.concat([worst, values[floor].fillna(values[floor].mean())], axis=1).min(axis=1)
    ok, failed = (wide[n].reindex(columns=ranked).fillna(0) for n in ("n_ok", "n_failed"))
    filled = (gains.fillna(0) * ok).add(failed.mul(worst, axis=0)) / (ok + failed)
    return _Contest(gains.mask(failed > 0, filled), unranked)


def _compare_block(
    names: dict[str, str], block: pd.DataFrame, sign: float, plan: Mapping[str, Any]
) -> list[dict[str, object]]:
    contest = _contest(block, sign, plan, names["metric"])
    gains = contest.gains
    if gains.empty or gains.shape[1] == 0:
        return []
    best = str(gains.mean().idxmax())
    generator = streams.generator("aggregate", dataset=names["dataset"], split=names["split"])
    rows = [_compare_pair(gains[best], gains[m], generator) for m in gains.columns if m != best]
    tested = [row for row in rows if np.isfinite(float(str(row["p"])))]
    adjusted = holm(np.array([row["p"] for row in tested], dtype=float))
    for row, p in zip(tested, adjusted, strict=True):
        row["p_holm"] = float(p)
    for row in rows:
        row["verdict"] = verdict(float(str(row["p_holm"])), int(str(row["units"])))
    empty = {"units": 0, "difference": np.nan, "low": np.nan, "high": np.nan, "effect": np.nan}
    rows += [
        {"other": m, **empty, "test": "none", "p": np.nan, "p_holm": np.nan, "verdict": f"not ranked ({n} succeeded)"}
        for m, n in contest.unranked.items()
    ]
    return [{**names, "best": best, **row} for row in rows]


def _compare_pair(best: "pd.Series[float]", other: "pd.Series[float]", rng: np.random.Generator) -> dict[str, object]:
    difference = (best - other).dropna().to_numpy(dtype=float)
    n = len(difference)
    low, high = t_interval(difference) if n >= 2 else (np.nan, np.nan)
    test, p = paired_test(difference, rng)
    return {
        "other": str(other.name),
        "units": n,
        "difference": float(np.median(difference)) if n else np.nan,
        "low": low,
        "high": high,
        "effect": rank_biserial(difference) if n and difference.any() else 0.0 if n else np.nan,
        "test": test,
        "p": p,
        "p_holm": np.nan,
        "verdict": "",
    }
