"""A file on its way: the bytes that have come, their hashes, and where they are from."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.filesize import decimal

from scident import io
from scident.download.body import HEAD, PIECE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where bytes come from, and how to tell whether the file there is still the same."""

    url: str
    etag: str = ""
    modified: str = ""
    """Header Last-Modified."""
    total: int | None = None
    """Size of the whole file in bytes, where the server says it."""

    @property
    def validator(self) -> str:
        """What If-Range may hold: a strong ETag or a date."""
        return self.etag if self.etag.startswith('"') else self.modified

    def contradicts(self, other: "Origin") -> bool:
        """Whether two answers to the same address are about different files."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.total, other.total))
        return self.url == other.url and any(a and b and a != b for a, b in pairs)


class Partial:
    """``.NAME.part`` in the cache and, beside it, ``.NAME.part.json`` with its origin.

    What a killed process leaves is found again by the next; only what is missing has to come.
    """

    def __init__(self, place: Path) -> None:
        self.path = place.with_name(f".{place.name}.part")
        self._note = place.with_name(f".{place.name}.part.json")
        self._forget()
        if self.path.exists():
            self._forget(_read_origin(self._note), mixed=True)
            with self.path.open("rb") as file:
                while piece := file.read(PIECE):
                    self._count(piece)
            log.info("%s: found %s of an earlier download", place.name, decimal(self.size))

    def _forget(self, origin: Origin | None = None, mixed: bool = False) -> None:
        self.size = 0
        self.head = b""
        self.origin = origin
        self.mixed = mixed
        """Whether some bytes came by an earlier request."""
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def _count(self, piece: bytes) -> None:
        self.size += len(piece)
        self.head += piece[: HEAD - len(self.head)]
        self._sha256.update(piece)
        self._md5.update(piece)

    @property
    def sha256(self) -> str:
        """SHA-256 of all that has come, hexadecimal."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        """MD5 of all that has come, hexadecimal."""
        return self._md5.hexdigest()

    def clear(self) -> None:
        """Throw away what has come."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self._forget()

    def begin(self, origin: Origin) -> None:
        """Throw away what has come and note where the next bytes are from."""
        self.clear()
        self.origin = origin
        io.write_json(asdict(origin), self._note)

    @contextmanager
    def growing(self) -> Iterator[Callable[[bytes], None]]:
        """Yield the function that adds bytes; each piece is with the system before the next comes."""
        with self.path.open("ab") as file:

            def add(piece: bytes) -> None:
                file.write(piece)
                file.flush()
                self._count(piece)

            yield add

    def become(self, place: Path) -> None:
        """Take the file's own name, at once and whole."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())
        self.path.replace(place)
        self._note.unlink(missing_ok=True)


def _read_origin(note: Path) -> Origin | None:
    try:
        return Origin(**io.read_json(note))
    except (OSError, ValueError, TypeError):
        return None
