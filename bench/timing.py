"""Timing that other work on the machine disturbs little: what is compared runs in turns."""

import statistics
import time
from collections.abc import Callable

REPEATS = 7


def ratio(work: Callable[[], object], reference: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """Return the median over repeats of (time of the reference / time of the work), and the work's median seconds.

    Both run once before they are measured.
    """
    seconds(work), seconds(reference)
    pairs = [(seconds(reference), seconds(work)) for _ in range(repeats)]
    return statistics.median(r / w for r, w in pairs), statistics.median(w for _, w in pairs)


def seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
