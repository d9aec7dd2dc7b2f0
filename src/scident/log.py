"""Logging and progress: rich on a terminal, plain lines elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

log = logging.getLogger(__name__)

EVERY_S = 15.0
"""Seconds between two plain progress lines."""


def set_up() -> None:
    """Send events to stderr, once per process."""
    root = logging.getLogger("scident")
    if not root.handlers:
        root.addHandler(_handler())
        root.setLevel(logging.INFO)


def _handler() -> logging.Handler:
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        return RichHandler(console=Console(stderr=True), show_path=False)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    return handler


class Tick(Protocol):
    """Say how far the work is and, in a few words, how it stands."""

    def __call__(self, done: int, words: str) -> None:
        """Report."""


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Tick]:
    """Yield a function that shows how far the work is: a bar on a terminal, a line every few seconds elsewhere.

    `total` is None where nobody knows it.
    """
    if sys.stderr.isatty():
        with _bar(what, total) as tick:
            yield tick
        return
    last = time.monotonic()

    def line(done: int, words: str) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY_S:
            last = time.monotonic()
            log.info("%s %d/%s %s", what, done, "?" if total is None else total, words)

    yield line


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total, words="")
        yield lambda done, words: shown.update(task, completed=done, words=words)
