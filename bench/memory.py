"""Anonymous memory of a process and of those it starts, as Linux tells it: pages of mapped files are not counted."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 0.05


@dataclass
class Peak:
    """The most seen so far."""

    mb: float = 0.0


@contextmanager
def watched() -> Iterator[Peak]:
    """Look at this process, and at its children, every so often while the block runs."""
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(EVERY_S):
            peak.mb = max(peak.mb, sum(_anonymous_mb(process) for process in _family(os.getpid())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _family(process: int) -> list[int]:
    found = [process]
    with suppress(OSError):  # it has ended
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            found += [one for child in path.read_text().split() for one in _family(int(child))]
    return found


def _anonymous_mb(process: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1e3
    return 0.0
