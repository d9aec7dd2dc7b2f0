"""One request that makes a partial file grow."""

import errno
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import requests
from rich.filesize import decimal

from scident import log as logs
from scident.download.body import HEAD, is_coded, not_a_file, pieces
from scident.download.partial import Origin, Partial
from scident.download.patience import Patience
from scident.download.trouble import Trouble, WrongFile, refusal
from scident.download.web import opened
from scident.errors import DataError
from scident.info import File

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def transfer(file: File, url: str, partial: Partial, patience: Patience) -> None:
    """Get what is missing of a file, or all of it where the server cannot send a part or the file there has changed.

    Raises
    ------
    Trouble
        The address does not give the file, or not all of it; `partial` keeps what can be continued.
    DataError
        The disk is full.
    """
    with opened(url, _range(file, url, partial), patience) as response:
        origin = _origin(file, url, response)
        if response.status_code == requests.codes.partial_content:
            _check_part(file, origin, response, partial)
        elif response.status_code == requests.codes.ok:
            _check_whole(file, origin, response)
            partial.begin(origin)
        else:
            if response.status_code == requests.codes.requested_range_not_satisfiable and partial.size:
                partial.clear()
                raise Trouble("has less than has come already", "now")
            raise refusal(response)
        expected = file.bytes if origin.total is None else origin.total
        if expected is not None:
            check_room(partial.path, expected - partial.size, file.name)
        try:
            _grow(file, partial, pieces(response, file.name, patience), expected)
        except OSError as error:
            if expected is None:  # it may never end
                partial.clear()
            _no_room(error, partial.path, file.name)
    if expected is not None and partial.size < expected:
        raise Trouble(f"breaks off after {partial.size:,} of {expected:,} bytes", "now")


def _range(file: File, url: str, partial: Partial) -> Mapping[str, str]:
    """Return the headers that ask for what is missing.

    Without a hash to check the whole by, only the address that gave the first part may continue, and only if it says
    that the file is still the same.
    """
    same = partial.origin is not None and partial.origin.url == url
    validator = partial.origin.validator if same and partial.origin is not None else ""
    if not partial.size or not (file.sha256 or file.md5 or validator):
        return {}
    return {"Range": f"bytes={partial.size}-"} | ({"If-Range": validator} if validator else {})


def _origin(file: File, url: str, response: requests.Response) -> Origin:
    headers = response.headers
    length, part = headers.get("Content-Length", ""), headers.get("Content-Range", "")
    said = part.rpartition("/")[2] if response.status_code == requests.codes.partial_content else length
    total = int(said) if said.isdecimal() and not is_coded(response, file.name) else None
    return Origin(url, headers.get("ETag", ""), headers.get("Last-Modified", ""), total)


def _check_part(file: File, origin: Origin, response: requests.Response, partial: Partial) -> None:
    """Make sure that an answer continues what has come."""
    _check_size(file, origin)
    found = re.match(r"bytes (\d+)-\d+/", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != partial.size or origin.total is None:
        partial.clear()
        raise Trouble("sends another part than was asked for", "now")
    if partial.origin is not None and origin.contradicts(partial.origin):
        partial.clear()
        raise Trouble("has another file than when the download began", "now")
    partial.mixed = True


def _check_whole(file: File, origin: Origin, response: requests.Response) -> None:
    """Refuse what cannot be the file before it is transferred."""
    page = response.headers.get("Content-Type", "").lower().startswith("text/html")
    checkable = bool(file.bytes or file.sha256 or file.md5)
    if origin.total == 0:
        raise Trouble("gives an empty page instead of the file", "later")
    if page and (_differs(file, origin) or not checkable):
        raise Trouble("gives a web page instead of the file", "later")
    _check_size(file, origin)
    chunked = "Transfer-Encoding" in response.headers
    if origin.total is None and not (checkable or chunked or is_coded(response, file.name)):
        raise Trouble("does not say how long the file is, and neither does the registry", "later")


def _differs(file: File, origin: Origin) -> bool:
    return None not in {origin.total, file.bytes} and origin.total != file.bytes


def _check_size(file: File, origin: Origin) -> None:
    if _differs(file, origin):
        raise WrongFile(f"has a file of {origin.total:,} bytes instead of {file.bytes:,}")


def _grow(file: File, partial: Partial, sent: Iterator[bytes], expected: int | None) -> None:
    began, before = time.monotonic(), partial.size
    total = None if expected is None else round(expected / 1e6)
    with logs.progress(f"{file.name} MB", total) as tick, partial.growing() as add:
        for piece in sent:
            judged = len(partial.head) >= HEAD
            add(piece)
            _judge(file, partial, judged, expected)
            speed = (partial.size - before) / max(time.monotonic() - began, 1e-3)
            tick(round(partial.size / 1e6), f"{decimal(round(speed))}/s")


def _judge(file: File, partial: Partial, judged: bool, expected: int | None) -> None:
    """Stop at the first sign that this is not the file."""
    strange = not_a_file(partial.head, file.name) if not judged and len(partial.head) >= HEAD else None
    if strange is not None:
        partial.clear()
        raise Trouble(strange, "later")
    if expected is not None and partial.size > expected:
        partial.clear()
        raise WrongFile(f"sends more than {expected:,} bytes")


def check_room(path: Path, needed: int, name: str) -> None:
    """Raise DataError if the disk of `path` has fewer than `needed` bytes left."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DataError(
            f"{name}: needs {decimal(needed)} more in {str(path.parent)!r}, found {decimal(free)} free; "
            "make room or set SCIDENT_CACHE to a folder on a larger disk"
        )


def _no_room(error: OSError, path: Path, name: str) -> NoReturn:
    if error.errno not in NO_ROOM:
        raise error
    raise DataError(
        f"{name}: the disk of {str(path.parent)!r} is full ({error.strerror}); make room or set SCIDENT_CACHE to a "
        "folder on a larger disk, then run again: what has come is continued"
    ) from error
