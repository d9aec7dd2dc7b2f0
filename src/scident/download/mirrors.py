"""The addresses of a file in order, each asked again where that makes sense."""

import logging

from scident.download import record
from scident.download.body import not_a_file
from scident.download.partial import Partial
from scident.download.patience import Patience
from scident.download.transfer import transfer
from scident.download.trouble import Trouble, WrongFile
from scident.download.web import shown
from scident.info import File

log = logging.getLogger(__name__)


class NoAddress(Exception):  # noqa: N818 - becomes part of a sentence; users see a DataError
    """No address gave the file."""

    def __init__(self, troubles: dict[str, Trouble]) -> None:
        super().__init__("; ".join(f"{shown(url)} {trouble}" for url, trouble in troubles.items()))
        self.wrong = any(isinstance(trouble, WrongFile) for trouble in troubles.values())
        """Some address gave another file."""


def complete(file: File, partial: Partial, patience: Patience) -> str:
    """Make a partial file whole and right; return the address that gave the last of it.

    Raises
    ------
    NoAddress
        With what each address did.
    DataError
        The disk is full.
    """
    troubles: dict[str, Trouble] = {}
    left = list(file.urls)
    for number in range(patience.rounds):
        if number and left:
            patience.sleep(patience.round_wait_s)
        for url in left:
            try:
                _from_one(file, url, partial, patience)
            except Trouble as trouble:
                log.warning("%s: %s %s", file.name, shown(url), trouble)
                troubles[url] = trouble
            else:
                return url
        left = [url for url in left if troubles[url].again != "never"]
    raise NoAddress(troubles)


def _from_one(file: File, url: str, partial: Partial, patience: Patience) -> None:
    """Ask one address until the file is whole; failures in a row count only while nothing new comes."""
    failures, furthest = 0, partial.size
    while True:
        try:
            if not _is_long_enough(file, partial):
                transfer(file, url, partial, patience)
        except Trouble as trouble:
            if _has_the_hash(file, partial):  # only the announced size was wrong
                return
            failures = 1 if partial.size > furthest else failures + 1
            furthest = max(furthest, partial.size)
            wait = patience.wait_s(failures) if trouble.wait_s is None else trouble.wait_s
            if trouble.again != "now" or failures >= patience.attempts:
                raise
            if wait > patience.longest_wait_s:
                raise Trouble(f"{trouble} and asks to wait {wait:.0f} s", "later") from None
            log.info("%s: %s %s; again in %.0f s", file.name, shown(url), trouble, wait)
            patience.sleep(wait)
        else:
            wrong = _verdict(file, partial)
            if wrong is None:
                return
            mixed = partial.mixed
            partial.clear()
            if not mixed:
                raise wrong
            log.warning("%s: what had come before does not fit the rest; starting anew", file.name)
            furthest = 0


def _is_long_enough(file: File, partial: Partial) -> bool:
    """Whether a partial file has all its bytes, so that only its hash is left to check."""
    total = file.bytes if file.bytes is not None or partial.origin is None else partial.origin.total
    return total is not None and 0 < total <= partial.size


def _has_the_hash(file: File, partial: Partial) -> bool:
    hashed = bool(file.sha256 or file.md5)
    return hashed and record.mismatch(file, partial.size, partial.sha256, partial.md5) is None


def _verdict(file: File, partial: Partial) -> Trouble | None:
    """Say what is wrong with a file that has come to its end."""
    strange = not_a_file(partial.head, file.name)
    if strange is not None:
        return Trouble(strange, "later")
    different = record.mismatch(file, partial.size, partial.sha256, partial.md5)
    return None if different is None else WrongFile(f"gives a file that {different}")
