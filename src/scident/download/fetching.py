"""One file of a dataset: from the cache, or downloaded once."""

import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.filesize import decimal

from scident.download import record
from scident.download.mirrors import NoAddress, complete
from scident.download.partial import Partial
from scident.download.patience import Patience
from scident.download.transfer import check_room
from scident.download.web import shown
from scident.errors import DataError
from scident.info import File

log = logging.getLogger(__name__)

OFFLINE = "SCIDENT_OFFLINE"
"""Environment variable: anything but empty, 0, false or no forbids every request."""


def fetch(file: File, cache: Path, *, patience: Patience | None = None) -> Path:
    """Return a file of a dataset from the cache, downloading it first if it is not there.

    Proxies come from the usual environment variables, tokens from ``SCIDENT_TOKENS``.

    Parameters
    ----------
    file
        Name, addresses in order of preference, size and hashes.
    cache
        Folder for downloads, made if missing. Two jobs never fetch the same file: the second waits for the first.
    patience
        How long to wait and how often to ask again.

    Returns
    -------
    The file; its bytes have the size and the hashes that are known, or those of its first download.

    Raises
    ------
    DataError
        The file cannot be had, and why; the cache then holds no file of that name.
    """
    place = _place(file, cache)
    try:
        if place.is_file() and record.fault(record.pinned(file, place), place) is None:
            return place
        if os.environ.get(OFFLINE, "").lower() not in {"", "0", "false", "no"}:
            raise DataError(_absent(record.pinned(file, place), place))
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(place):
            _download(file, place, patience or Patience())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"{file.name}: cannot use {error.filename or str(cache)!r} ({reason}); "
            "set SCIDENT_CACHE to a folder you can write to"
        ) from error
    return place


def reject(file: File, cache: Path) -> bool:
    """Remove a file from the cache, and the record that pins it, after it was found to hold something else.

    Returns
    -------
    Whether it is gone. A file that has the hash its source publishes stays: it is the published one.
    """
    if file.sha256 or file.md5:
        return False
    place = _place(file, cache)
    with _alone(place):
        place.unlink(missing_ok=True)
        record.record_of(place).unlink(missing_ok=True)
    return True


def _place(file: File, cache: Path) -> Path:
    if not file.name or file.name != Path(file.name).name or file.name.startswith("."):
        raise DataError(f"files: {file.name!r} cannot be the name of a file in the cache; use one without folders")
    return cache / file.name


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Hold the lock of a file; the system frees it when its holder dies."""
    lock = FileLock(place.with_name(f".{place.name}.lock"))
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: another job is downloading it; waiting", place.name)
        held = lock.acquire()
    with held:
        yield


def _download(file: File, place: Path, patience: Patience) -> None:
    if not file.urls:
        raise DataError(f"{file.name}: no address is known; put the file at {str(place)!r}")
    wanted = record.pinned(file, place)
    if place.is_file():
        wrong = record.fault(wanted, place)
        if wrong is None:  # it came while this job waited for the lock
            return
        log.warning("%s: what lies in the cache %s; downloading it again", file.name, wrong)
        place.unlink()
    partial = Partial(place)
    if wanted.bytes is not None:
        check_room(place, wanted.bytes - partial.size, file.name)
    began, before = time.monotonic(), partial.size
    log.info("download %s%s from %s", file.name, _size(wanted), shown(file.urls[0]))
    try:
        source = complete(wanted, partial, patience)
    except NoAddress as failure:
        raise DataError(_failed(file, place, failure)) from None
    partial.become(place)
    record.write(place, partial.sha256, partial.md5, shown(source))
    seconds = time.monotonic() - began
    log.info("downloaded %s: %s, %.1f s, sha256 %s", file.name, decimal(partial.size - before), seconds, partial.sha256)
    if not (wanted.sha256 or wanted.md5):
        log.info("%s: its source publishes no hash; this one is recorded in %s", file.name, record.record_of(place))


def _absent(file: File, place: Path) -> str:
    """Say what is missing offline and how to fetch it."""
    wrong = record.fault(file, place) if place.is_file() else None
    found = f"{str(place)!r} {wrong}" if wrong else f"is not in {str(place.parent)!r}"
    return f"{file.name}: {found} and {OFFLINE} forbids downloads; {_by_hand(file, place)} or unset {OFFLINE}"


def _failed(file: File, place: Path, failure: NoAddress) -> str:
    advice = f"try again later (what has come is continued), or {_by_hand(file, place)}"
    if failure.wrong and record.is_pinned(file, place):
        advice = (
            "the first download had another hash: if the source has a new version, delete "
            f"{str(record.record_of(place))!r} and run again"
        )
    elif failure.wrong and not file.verified:
        advice = "the registry marks size or checksum as unverified: compare them with what the source says"
    return f"{file.name}: no address gives the file: {failure}; {advice}"


def _by_hand(file: File, place: Path) -> str:
    if not file.urls:
        return f"put the file at {str(place)!r}"
    command = shlex.join(["curl", "-L", "-o", file.name, shown(file.urls[0])])
    return f"run `{command}` where there is a network and put the file{_size(file)} into {str(place.parent)!r}"


def _size(file: File) -> str:
    return "" if file.bytes is None else f" ({decimal(file.bytes)})"
