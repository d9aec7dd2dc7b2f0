"""Agreement between seeds: the mean over all pairs and its jackknife error."""

from collections.abc import Callable
from itertools import combinations

import numpy as np

from scident.errors import NotApplicable
from scident.metrics.base import Inputs, Member

JACKKNIFE_FROM = 3
"""Fewer seeds leave no pair when one is dropped."""


def over_pairs(inputs: Inputs, agreement: Callable[[Member, Member], float]) -> tuple[float, float | None, int]:
    """Return the mean agreement over pairs of seeds, its jackknife standard error over seeds, and how many pairs.

    Raises
    ------
    NotApplicable
        The configuration asks for one seed only (``single_seed``).
    """
    n_seeds = len(inputs.members)
    if min(len(inputs.seeds or inputs.members), n_seeds) < 2:
        raise NotApplicable("single_seed")
    pairs = list(combinations(range(n_seeds), 2))
    found = np.array([agreement(inputs.members[a], inputs.members[b]) for a, b in pairs])
    if n_seeds < JACKKNIFE_FROM:
        return float(found.mean()), None, len(pairs)
    without = np.array([found[[left not in pair for pair in pairs]].mean() for left in range(n_seeds)])
    error = np.sqrt((n_seeds - 1) / n_seeds * ((without - without.mean()) ** 2).sum())
    return float(found.mean()), float(error), len(pairs)
