"""Several starts of one member, of which the one that validates best is kept."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scident.engine.progress import Progress
from scident.models.base import Member

START = 4
"""Purpose of the seeds of further starts (1 to 3 are those of the trainer and the second training)."""


def attempts(member: Member, starts: int) -> list[Member]:
    """Return a member once per start: the first as it is, the others with seeds and checkpoints of their own."""
    own, key = member.seed, member.key
    seeds = [np.random.SeedSequence(own.entropy, spawn_key=(*own.spawn_key, START, i)) for i in range(1, starts)]
    others = [replace(member, seed=s, key=key and f"{key}-start{i}") for i, s in enumerate(seeds, start=1)]
    return [member, *others]


def best(progresses: Sequence[Progress]) -> int:
    """Return the start with the least last validation score; failed ones count for nothing."""
    return int(np.argmin([_score(one) for one in progresses]))


def _score(progress: Progress) -> float:
    last = _last(progress)
    return np.inf if progress.failure or not np.isfinite(last) else last


def _last(progress: Progress) -> float:
    """Return the validation score of the last epoch, nats per cell; NaN before the first."""
    return next((value for _, name, value in reversed(progress.history) if name == "val_nelbo"), np.nan)


def resolved(progresses: Sequence[Progress]) -> dict[str, float]:
    """Say which start was kept and how each validated; nothing where there was one alone."""
    if len(progresses) == 1:
        return {}
    scores = {f"start_nelbo_{i}": _last(one) for i, one in enumerate(progresses)}
    return {"chosen_start": float(best(progresses))} | scores
