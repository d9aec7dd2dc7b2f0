"""Rules that choose a grid point from training and validation cells alone: no truth, no held-out perturbations."""

from collections.abc import Mapping, Sequence

LOWER_IS_BETTER = {"val_nelbo": True, "stability": False, "heldout_validation": False}
"""Criteria, and which way each points.

``val_nelbo``: validation negative ELBO, mean over seeds (nats per cell). ``stability``: mean MCC between the seeds of a
grid point on validation cells (Duan et al. 2020, ICLR). ``heldout_validation``: importance-weighted bound on validation
*perturbations*, training perturbations that an extra member did not train on (nats per cell).
"""

RULES = {
    "stability": ("stability",),
    "stability+heldout_validation": ("stability", "heldout_validation"),
    "heldout_validation": ("heldout_validation",),
    "val_nelbo": ("val_nelbo",),
}
"""Rule -> the criteria whose ranks it averages; in the order they stand in for one whose criteria are not known."""

ONLY = "only"
"""Stands for a rule where there is one grid point."""

Criteria = Mapping[str, Mapping[str, float]]
"""Criterion -> grid point -> value."""


def known(rule: str, criteria: Criteria, points: Sequence[str]) -> list[str]:
    """Return the grid points for which every criterion of a rule is known: it chooses among these."""
    return [point for point in points if all(point in criteria.get(name, {}) for name in RULES[rule])]


def scores(rule: str, criteria: Criteria, points: Sequence[str]) -> dict[str, float]:
    """Return what a rule minimises at the grid points it knows: its criterion (sign turned), or a mean rank."""
    own = known(rule, criteria, points)
    found = [{p: criteria[name][p] * (1 if LOWER_IS_BETTER[name] else -1) for p in own} for name in RULES[rule]]
    if len(found) == 1:
        return found[0]
    ranks = [{p: sum(other < value for other in one.values()) for p, value in one.items()} for one in found]
    return {p: sum(rank[p] for rank in ranks) / len(ranks) for p in own}


def applicable(wanted: str, criteria: Criteria, points: Sequence[str]) -> str | None:
    """Return the wanted rule if it knows a grid point, else the first of `RULES` that does, else None."""
    return next((rule for rule in (wanted, *RULES) if known(rule, criteria, points)), None)


def choose(rule: str, criteria: Criteria, points: Sequence[str]) -> str:
    """Return the grid point a rule chooses; a tie goes to the better one by the rule's first criterion."""
    if len(points) == 1:
        return points[0]
    found = scores(rule, criteria, points)
    first = scores(RULES[rule][0], criteria, points)
    return min(found, key=lambda p: (found[p], first[p]))
