"""Rules that choose a grid point from training and validation cells alone: no truth, no held-out perturbations."""

from collections.abc import Mapping

LOWER_IS_BETTER = {"val_nelbo": True, "stability": False, "heldout_validation": False}
"""Criteria, and which way each points.

``val_nelbo``: validation negative ELBO, mean over seeds (nats per cell). ``stability``: mean MCC between the seeds of a
grid point on validation cells (Duan et al. 2020, ICLR). ``heldout_validation``: importance-weighted bound on validation
*perturbations*, training perturbations that an extra member did not train on (nats per cell).
"""

RULES = {
    "val_nelbo": ("val_nelbo",),
    "stability": ("stability",),
    "heldout_validation": ("heldout_validation",),
    "stability+heldout_validation": ("stability", "heldout_validation"),
}
"""Rule -> the criteria whose ranks it averages."""

ONLY = "only"
"""Stands for a rule where there is one grid point."""

Criteria = Mapping[str, Mapping[str, float]]
"""Criterion -> grid point -> value."""


def judged(criteria: Criteria, points: list[str]) -> list[str]:
    """Return the grid points that some criterion knows; where others are known, the rest failed."""
    return [point for point in points if any(point in known for known in criteria.values())]


def applies(rule: str, criteria: Criteria, points: list[str]) -> bool:
    """Return whether every criterion of a rule is known for every grid point."""
    return all(point in criteria.get(name, {}) for name in RULES[rule] for point in points)


def scores(rule: str, criteria: Criteria, points: list[str]) -> dict[str, float]:
    """Return what a rule minimises at each grid point: the one criterion (sign turned), or the mean rank of several."""
    found = [{p: criteria[name][p] * (1 if LOWER_IS_BETTER[name] else -1) for p in points} for name in RULES[rule]]
    if len(found) == 1:
        return found[0]
    ranks = [{p: sum(other < value for other in one.values()) for p, value in one.items()} for one in found]
    return {p: sum(rank[p] for rank in ranks) / len(ranks) for p in points}


def applicable(wanted: str, criteria: Criteria, points: list[str]) -> str | None:
    """Return the wanted rule if its criteria are known, else the first that applies, else None."""
    return next((rule for rule in (wanted, *RULES) if applies(rule, criteria, points)), None)


def choose(rule: str, criteria: Criteria, points: list[str]) -> str:
    """Return the grid point a rule chooses; a tie goes to the better one by the rule's first criterion."""
    if len(points) == 1:
        return points[0]
    found = scores(rule, criteria, points)
    first = scores(RULES[rule][0], criteria, points)
    return min(points, key=lambda p: (found[p], first[p]))
