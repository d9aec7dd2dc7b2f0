"""What the cache remembers of each file: that its bytes were checked, and the hash of a first download.

``NAME.record.json`` lies beside the file. A file whose size and time are those of its record is not hashed again; where
the source publishes no hash, the record's is the one that every later download must have.
"""

import dataclasses
import hashlib
from contextlib import suppress
from pathlib import Path

from scident import io
from scident.download.body import HEAD, PIECE, not_a_file
from scident.info import File


@dataclasses.dataclass(frozen=True)
class Record:
    """A file whose bytes were seen to be right."""

    bytes: int
    sha256: str
    md5: str
    mtime_ns: int
    """Time of the file, nanoseconds; another one means that somebody has touched it."""
    source: str = ""
    """Address it came from; empty: it was put there by hand."""


def record_of(place: Path) -> Path:
    """Return where the record of a file lies."""
    return place.with_name(f"{place.name}.record.json")


def read(place: Path) -> Record | None:
    """Return the record of a file, None if there is none that can be read."""
    try:
        return Record(**io.read_json(record_of(place)))
    except (OSError, ValueError, TypeError):
        return None


def write(place: Path, sha256: str, md5: str, source: str = "") -> None:
    """Remember that the file at `place` is right; a cache that cannot be written to is checked anew each time."""
    stat = place.stat()
    record = Record(stat.st_size, sha256, md5, stat.st_mtime_ns, source)
    with suppress(OSError):
        io.write_json(dataclasses.asdict(record), record_of(place))


def is_pinned(file: File, place: Path) -> bool:
    """Whether a first download, not the source, says what the file's hash must be."""
    return not (file.sha256 or file.md5) and read(place) is not None


def pinned(file: File, place: Path) -> File:
    """Return `file`; where its source publishes no hash, with that of the first download, if there was one."""
    record = read(place)
    if record is None or file.sha256 or file.md5:
        return file
    return dataclasses.replace(file, bytes=record.bytes, sha256=record.sha256)


def mismatch(file: File, size: int, sha256: str, md5: str) -> str | None:
    """Say in what bytes differ from those that are wanted, or None."""
    if file.bytes is not None and size != file.bytes:
        return f"has {size:,} bytes instead of {file.bytes:,}"
    for name, found, wanted in (("sha256", sha256, file.sha256), ("md5", md5, file.md5)):
        if wanted and found != wanted.lower():
            return f"has {name} {found} instead of {wanted}"
    return None


def fault(file: File, place: Path) -> str | None:
    """Say why the file in the cache is not the one that is wanted, or None if it is."""
    stat, known = place.stat(), read(place)
    if known is not None and (known.bytes, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return mismatch(file, known.bytes, known.sha256, known.md5)
    if file.bytes not in {None, stat.st_size}:
        return mismatch(file, stat.st_size, "", "")
    sha256, md5, head = _hashes(place)
    wrong = not_a_file(head, file.name) or mismatch(file, stat.st_size, sha256, md5)
    if wrong is None:
        write(place, sha256, md5, known.source if known is not None else "")
    return wrong


def _hashes(place: Path) -> tuple[str, str, bytes]:
    """Return SHA-256, MD5 and the first bytes of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with place.open("rb") as content:
        head = content.read(HEAD)
        content.seek(0)
        while piece := content.read(PIECE):
            sha256.update(piece)
            md5.update(piece)
    return sha256.hexdigest(), md5.hexdigest(), head


def checksum(file: File, cache: Path) -> str:
    """Say in a few words what a file's bytes are compared with."""
    if file.sha256 or file.md5:
        name, value = ("sha256", file.sha256) if file.sha256 else ("md5", file.md5)
        return f"{name} {value}{'' if file.verified else ' (unverified)'}"
    known = read(cache / file.name)
    return "no checksum published" if known is None else f"first download {known.sha256}"
