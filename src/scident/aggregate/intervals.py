"""Intervals over replicates, and the summary table they fill.

A unit is a replicate (a redrawn world). Seeds are averaged inside a unit first: they are not independent evidence
about the world.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from scident import rng as streams
from scident.aggregate.units import KEYS, describe_status

LEVEL = 0.95
"""Coverage of every interval."""
BOOTSTRAP_FROM = 20
"""Units from which the hierarchical bootstrap replaces the t interval; below, percentiles cover too little."""
DRAWS = 2_000

T_OVER_REPLICATES = "t over replicates"
BOOTSTRAP = "hierarchical bootstrap over replicates and seeds"
SEED_SD = "seeds only (sd)"
SEED_SE = "seeds only (jackknife se)"
SINGLE = "single value"
NONE = "none"


def t_interval(values: Float[np.ndarray, " units"]) -> tuple[float, float]:
    r"""Student t interval of the mean of independent units, at `LEVEL`.

    .. math:: \bar v \pm t_{n-1,\,0.975} \; s / \sqrt n

    Parameters
    ----------
    values
        One number per unit, any unit of measurement; at least two.

    Returns
    -------
    Lower and upper end, in the unit of `values`.

    Raises
    ------
    ValueError
        Fewer than two values: their spread is unknown.

    References
    ----------
    Student (1908), The Probable Error of a Mean, Biometrika 6.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"a t interval needs at least 2 units, got {n}")
    half = _t_quantile(n) * float(np.std(values, ddof=1)) / np.sqrt(n)
    mean = float(np.mean(values))
    return mean - half, mean + half


@cache
def _t_quantile(n: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, n - 1))


def hierarchical_bootstrap(
    units: Sequence[Float[np.ndarray, " seeds"]], rng: np.random.Generator
) -> tuple[float, float]:
    """Percentile interval of the mean over units of the mean over seeds, resampling units and then seeds inside each.

    `DRAWS` resamples, at `LEVEL`.

    Parameters
    ----------
    units
        For each unit its values over seeds (at least one each), any unit of measurement.
    rng
        Equal generators give equal draws, so methods with the same layout are resampled together.

    Returns
    -------
    Lower and upper percentile, in the unit of the values.

    References
    ----------
    Davison & Hinkley (1997), Bootstrap Methods and their Application, section 3.8.
    """
    sizes = np.array([len(u) for u in units])
    padded = np.full((len(units), sizes.max()), np.nan)
    for row, values in zip(padded, units, strict=True):
        row[: len(values)] = values
    chosen = rng.integers(len(units), size=(DRAWS, len(units)))
    picks = np.floor(rng.random((DRAWS, len(units), sizes.max())) * sizes[chosen][..., None]).astype(int)
    drawn = padded[chosen[..., None], picks]
    # A unit with fewer seeds than the widest one uses as many of its draws as it has seeds.
    used = np.arange(sizes.max()) < sizes[chosen][..., None]
    means = (drawn * used).sum(axis=2) / sizes[chosen]
    low, high = np.quantile(means.mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def interval_of(
    units: Sequence[Float[np.ndarray, " seeds"]], se: float | None, rng: np.random.Generator
) -> tuple[float, float, str]:
    """Choose the interval the number of units allows; returns lower end, upper end and the interval's name.

    Parameters
    ----------
    units
        For each unit with any success its values over seeds, any unit of measurement.
    se
        Standard error over seeds of the only value, where the metric itself compares seeds.
    rng
        For the bootstrap.
    """
    means = np.array([u.mean() for u in units])
    if len(units) >= BOOTSTRAP_FROM:
        return (*hierarchical_bootstrap(units, rng), BOOTSTRAP)
    if len(units) >= 2:
        return (*t_interval(means), T_OVER_REPLICATES)
    if len(units) == 1 and len(units[0]) >= 2:
        spread = float(np.std(units[0], ddof=1))
        return float(means[0]) - spread, float(means[0]) + spread, SEED_SD
    if len(units) == 1 and se is not None and np.isfinite(se):
        return float(means[0]) - se, float(means[0]) + se, SEED_SE
    return np.nan, np.nan, SINGLE if units else NONE


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise aggregate score rows over seeds and replicates.

    Parameters
    ----------
    scores
        Contract ``scores``; rows of single perturbations are left out.

    Returns
    -------
    Contract ``summary``: one row per dataset, split, scope, model, grid point, metric and variant. Failures stay
    visible: ``n_ok`` of the ``n_total`` rows that apply, and their reasons.
    """
    rows = scores[scores["perturbation"].isna()]
    rows = rows.iloc[np.argsort(rows.groupby(KEYS, sort=True).ngroup().to_numpy(), kind="stable")]
    # a block is a slice of arrays: a benchmark has tens of thousands, and pandas takes milliseconds for each
    columns = {name: rows[name].to_numpy() for name in (*KEYS, "replicate", "value", "se", "status", "reason")}
    columns["lone"] = rows["seed"].isna().to_numpy()
    starts = np.flatnonzero(~rows.duplicated(KEYS).to_numpy())
    blocks = itertools.starmap(slice, itertools.pairwise([*starts, len(rows)]))
    return pd.DataFrame([_row({name: column[block] for name, column in columns.items()}) for block in blocks])


def _row(block: Mapping[str, np.ndarray]) -> dict[str, object]:
    names = {name: str(block[name][0]) for name in KEYS}
    ok = block["status"] == "ok"
    values, replicates = block["value"][ok], block["replicate"][ok]
    units = [values[replicates == replicate] for replicate in np.unique(replicates)]
    means = np.array([u.mean() for u in units])
    across_seeds = len(values) == 1 and block["lone"][ok].all()
    se = float(block["se"][ok][0]) if across_seeds and pd.notna(block["se"][ok][0]) else None
    # The same stream for every method and metric of a split: their units are resampled together.
    generator = streams.generator("aggregate", dataset=names["dataset"], split=names["split"])
    low, high, label = interval_of(units, se, generator)
    within = [u.var(ddof=1) for u in units if len(u) > 1]
    status, reason = describe_status(block["status"], block["reason"])
    return {
        **names,
        "mean": means.mean() if len(means) else np.nan,
        "low": low,
        "high": high,
        "sd_units": means.std(ddof=1) if len(means) > 1 else np.nan,
        "sd_seeds": np.sqrt(np.mean(within)) if within else np.nan,
        "units": len(units),
        "interval": label,
        "n_ok": len(values),
        "n_total": int((block["status"] != "not_applicable").sum()),
        "status": status,
        "reason": reason,
    }
