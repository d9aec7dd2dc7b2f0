"""A web server on loopback that misbehaves on purpose, and counts what it sends."""

import gzip
import http.server
import random
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

ETAG = '"one"'
BODY = random.Random(0).randbytes(20_000)
"""A file."""


@dataclass
class Asked:
    """A request that was answered."""

    path: str
    headers: Mapping[str, str]
    sent: int = 0
    """Bytes of the body."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the next answer of its path; the last one is repeated."""

    protocol_version = "HTTP/1.1"

    @property
    def owner(self) -> "Server":
        return self.server.owner  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self.close_connection = True
        self.asked = Asked(self.path, dict(self.headers))
        with self.owner.lock:
            self.owner.asked.append(self.asked)
            answers = self.owner.answers[self.path.partition("?")[0].rpartition("/")[2]]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with suppress(OSError):  # the client went away
            answer(self)

    def start(self, status: int, length: int | str | None = None, **headers: str) -> None:
        """Send the status and headers; `etag="x"` becomes ``Etag: x``, underscores become hyphens."""
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-").title(), value)
        self.send_header("Connection", "close")
        self.end_headers()

    def put(self, piece: bytes) -> None:
        self.asked.sent += len(piece)
        self.wfile.write(piece)
        self.wfile.flush()

    def wanted(self, body: bytes, etag: str = ETAG) -> int | None:
        """Return where the client wants to continue, None if it wants everything."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(found[1]) if found and self.headers.get("If-Range", etag) == etag else None

    def reset(self) -> None:
        """Break the connection off hard, as a dying machine does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


Answer = Callable[[Handler], None]


@dataclass
class Server:
    """Answers for each path (without the slash), in order."""

    answers: dict[str, list[Answer]]
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    @property
    def sent(self) -> int:
        return sum(asked.sent for asked in self.asked)


class _Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: broken connections are meant."""


@contextmanager
def serving(**answers: Answer | Sequence[Answer]) -> Iterator[Server]:
    """Serve until the block ends."""
    server = Server({path: list(a) if isinstance(a, Sequence) else [a] for path, a in answers.items()})
    with _Threads(("127.0.0.1", 0), Handler) as running:
        running.owner = server  # type: ignore[attr-defined]
        server.port = running.server_address[1]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            running.shutdown()
            thread.join()


def good(body: bytes, etag: str = ETAG, upto: int | None = None, hard: bool = False, **headers: str) -> Answer:
    """Serve a file and parts of it; `upto`: only its first bytes, then hang up (or break off `hard`)."""

    def answer(handler: Handler) -> None:
        start = handler.wanted(body, etag)
        said = ({"etag": etag} if etag else {}) | headers
        if start is not None and start >= len(body):
            handler.start(416, 0, content_range=f"bytes */{len(body)}")
            return
        if start is not None:
            part = f"bytes {start}-{len(body) - 1}/{len(body)}"
            handler.start(206, len(body) - start, content_range=part, **said)
        else:
            handler.start(200, len(body), **said)
        handler.put(body[start or 0 : upto])
        if hard:
            handler.reset()

    return answer


def holding(body: bytes, until: Callable[[], bool], step: int = 2**14) -> Answer:
    """Serve a file piece by piece, the last one once `until` holds."""

    def answer(handler: Handler) -> None:
        handler.start(200, len(body), etag=ETAG)
        for first in range(0, len(body), step):
            while first + step >= len(body) and not until() and not handler.owner.ended.is_set():
                time.sleep(0.001)
            handler.put(body[first : first + step])

    return answer


def ignoring_range(body: bytes, upto: int | None = None) -> Answer:
    def answer(handler: Handler) -> None:
        handler.start(200, len(body))
        handler.put(body[:upto])

    return answer


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.start(code, 0, **headers)


def page(content: bytes, kind: str = "text/html; charset=utf-8", code: int = 200) -> Answer:
    def answer(handler: Handler) -> None:
        handler.start(code, len(content), content_type=kind)
        handler.put(content)

    return answer


def announcing(length: int | str, body: bytes) -> Answer:
    """Send a Content-Length that is not the body's."""

    def answer(handler: Handler) -> None:
        handler.start(200, length)
        handler.put(body)

    return answer


def redirect(to: str, code: int = 302) -> Answer:
    return lambda handler: handler.start(code, 0, location=to)


def coded(content: bytes, encoding: str = "gzip") -> Answer:
    """Send what is said to be in a code that nobody asked for."""

    def answer(handler: Handler) -> None:
        handler.start(200, content_encoding=encoding)
        handler.put(content)

    return answer


def gzipped(body: bytes, upto: int | None = None) -> Answer:
    """Compress on the way."""
    return coded(gzip.compress(body, mtime=0)[:upto])


def chunked(body: bytes, upto: int | None = None) -> Answer:
    """Send no size at all, in chunks; `upto`: hang up within a chunk."""

    def answer(handler: Handler) -> None:
        handler.start(200, transfer_encoding="chunked")
        content = body[:upto]
        handler.wfile.write(f"{len(body):x}\r\n".encode())
        handler.put(content)
        if upto is None:
            handler.wfile.write(b"\r\n0\r\n\r\n")

    return answer


def until_closed(body: bytes) -> Answer:
    """Send no size at all, and hang up at the end."""

    def answer(handler: Handler) -> None:
        handler.start(200)
        handler.put(body)

    return answer


def stalling(body: bytes, after: int) -> Answer:
    """Send so many bytes of a file and then nothing."""

    def answer(handler: Handler) -> None:
        start = handler.wanted(body) or 0
        said = {"content_range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        handler.start(206 if start else 200, len(body) - start, etag=ETAG, **said)
        handler.put(body[start:after])
        handler.owner.ended.wait(60)

    return answer


def dripping(body: bytes, step: int = 5, pause_s: float = 0.01) -> Answer:
    def answer(handler: Handler) -> None:
        handler.start(200, len(body), etag=ETAG)
        for first in range(0, len(body), step):
            handler.put(body[first : first + step])
            time.sleep(pause_s)

    return answer


def wrong_part(body: bytes, shift: int) -> Answer:
    """Answer a Range request with a part that begins so many bytes before what was asked for."""

    def answer(handler: Handler) -> None:
        start = handler.wanted(body)
        if start is None:
            handler.start(200, len(body), etag=ETAG)
            handler.put(body)
            return
        first = max(start - shift, 0)
        handler.start(206, len(body) - first, content_range=f"bytes {first}-{len(body) - 1}/{len(body)}", etag=ETAG)
        handler.put(body[first:])

    return answer


def silent(handler: Handler) -> None:
    """Hang up without a word."""
    handler.reset()


def mute(handler: Handler) -> None:
    """Take the request and say nothing."""
    handler.owner.ended.wait(60)


def garbled(handler: Handler) -> None:
    """Answer with something that is not HTTP."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
