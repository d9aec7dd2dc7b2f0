"""The body of an answer: piece by piece, as the file's own bytes, and whether it is a file at all."""

import re
import time
import zlib
from collections.abc import Iterator
from pathlib import PurePath

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from scident.download.patience import Patience
from scident.download.trouble import Trouble

PIECE = 2**18
"""Most bytes read or written at once."""
HEAD = 512
"""First bytes that tell a web page from a file."""
HDF5 = b"\x89HDF\r\n\x1a\n"
SIGNATURES = {".h5ad": HDF5, ".h5mu": HDF5, ".h5": HDF5, ".gz": b"\x1f\x8b", ".zip": b"PK"}
"""How files of some endings begin."""
GZIP = {"gzip", "x-gzip"}
PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body|script|\?xml|!--)", re.IGNORECASE)


def pieces(response: requests.Response, name: str, patience: Patience) -> Iterator[bytes]:
    """Yield the bytes of the file `name` as they come.

    Raises
    ------
    Trouble
        The transfer breaks off, stalls, drips or is in a code that was not asked for.
    """
    sent = _sent(response, patience)
    if not is_coded(response, name):
        return sent
    if _code(response) not in GZIP:
        raise Trouble(f"sends the file in the code {_code(response)!r}, which was not asked for", "later")
    return _inflated(sent)


def is_coded(response: requests.Response, name: str) -> bool:
    """Whether the answer is not the file's own bytes; a compressed file that is labelled so is itself meant."""
    code = _code(response)
    return code not in {"", "identity"} and not (code in GZIP and name.endswith((".gz", ".tgz")))


def _code(response: requests.Response) -> str:
    return response.headers.get("Content-Encoding", "").strip().lower()


def _sent(response: requests.Response, patience: Patience) -> Iterator[bytes]:
    since, came = time.monotonic(), 0
    while True:
        try:
            piece: bytes = response.raw.read1(PIECE, decode_content=False)  # returns what there is, however little
        except ReadTimeoutError:
            raise Trouble(f"stops sending for {patience.read_s:g} s", "now") from None
        except (HTTPError, OSError):
            raise Trouble("breaks off", "now") from None
        if not piece:
            return
        yield piece
        came += len(piece)
        passed = time.monotonic() - since
        if passed >= patience.window_s:
            if came < patience.slowest * passed:
                raise Trouble(f"sends only {came / passed:.0f} bytes per second", "later")
            since, came = time.monotonic(), 0


def _inflated(sent: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits=31)
    for piece in sent:
        left = piece
        while left:
            try:
                yield inflate.decompress(left, PIECE)
            except zlib.error:
                raise Trouble("sends broken gzip", "now") from None
            left = inflate.unconsumed_tail
            if inflate.eof and inflate.unused_data:  # a gzip stream may have several parts
                left, inflate = inflate.unused_data, zlib.decompressobj(wbits=31)
    if not inflate.eof:
        raise Trouble("breaks off", "now")


def not_a_file(head: bytes, name: str) -> str | None:
    """Say what the first bytes of an answer are instead of the file `name`, or None if they may be the file's.

    >>> not_a_file(b"<!DOCTYPE html><title>Please wait</title>", "cells.h5ad")
    'gives a web page instead of the file'
    """
    if not head:
        return "gives an empty page instead of the file"
    if PAGE.match(head):
        return "gives a web page instead of the file"
    wanted = SIGNATURES.get(PurePath(name).suffix, b"")
    if not head.startswith(wanted[: len(head)]):
        return f"gives something that does not begin like a {PurePath(name).suffix} file ({head[:12]!r})"
    return None
