"""What a job cost: wall and processor seconds and peak memory of this process, by the operating system's account."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Yield a mapping that holds wall_s, cpu_s (user + sys) and peak_rss_mb once the block has ended."""
    costs: dict[str, float] = {}
    wall, cpu = time.monotonic(), time.process_time()
    try:
        yield costs
    finally:
        costs["wall_s"] = time.monotonic() - wall
        costs["cpu_s"] = time.process_time() - cpu
        unit = 2**20 if sys.platform == "darwin" else 2**10
        costs["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
