"""Which grid point of each model is shown and compared: chosen by a rule that sees neither truth nor held-out cells."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scident.metrics.base import SCOPES_OF_PROTOCOL

CRITERION = "nelbo"
ORACLE = "mcc_pearson"

ONLY = "only"
VAL_NELBO = "val_nelbo"
FIRST = "first (no val_nelbo)"


def select(scores: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Choose a grid point per dataset, split, model and replicate.

    Parameters
    ----------
    scores
        Contract ``scores``.
    plan
        The benchmark's plan.

    Returns
    -------
    Contract ``selected``. ``rule`` is ``only`` (no grid), ``val_nelbo`` (lowest validation negative ELBO, mean over
    seeds) or ``first (no val_nelbo)``; ``score`` the validation nELBO of the choice in nats per cell; ``regret`` the
    MCC lost against the grid point an oracle would choose (0 is best), null without truth.
    """
    rows = scores[scores["perturbation"].isna() & (scores["status"] == "ok")]
    criterion = _means(rows[(rows["metric"] == CRITERION) & (rows["scope"] == "val")])
    table = []
    for run in plan["runs"]:
        scope = SCOPES_OF_PROTOCOL[plan["splits"][run["split"]]["protocol"]][0]
        oracle = _means(rows[(rows["metric"] == ORACLE) & (rows["scope"] == scope)])
        for replicate in run["replicates"]:
            place = (run["dataset"], run["split"], run["model"], replicate)
            table.append(_choose(place, run["grid_points"], criterion, oracle))
    return pd.DataFrame(table)


def _means(rows: pd.DataFrame) -> dict[tuple[object, ...], float]:
    grouped = rows.groupby(["dataset", "split", "model", "replicate", "grid_point"])["value"].mean()
    return {tuple(key): float(value) for key, value in grouped.items()}  # type: ignore[arg-type]  # a MultiIndex key


def _choose(
    place: tuple[str, str, str, int],
    points: list[str],
    criterion: dict[tuple[object, ...], float],
    oracle: dict[tuple[object, ...], float],
) -> dict[str, object]:
    nelbo = {p: criterion[*place, p] for p in points if (*place, p) in criterion}
    mcc = {p: oracle[*place, p] for p in points if (*place, p) in oracle}
    if len(points) == 1:
        rule, chosen = ONLY, points[0]
    elif nelbo:
        rule, chosen = VAL_NELBO, min(nelbo, key=lambda p: nelbo[p])
    else:
        rule, chosen = FIRST, points[0]
    dataset, split, model, replicate = place
    return {
        "dataset": dataset,
        "split": split,
        "model": model,
        "rule": rule,
        "replicate": replicate,
        "grid_point": chosen,
        "score": nelbo.get(chosen, np.nan),
        "regret": max(mcc.values()) - mcc[chosen] if chosen in mcc else np.nan,
    }
