"""Why an address did not give a file, and whether asking it again makes sense."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from requests import Response

Again = Literal["now", "later", "never"]
"""Ask the same address again after a short wait; after the other addresses; not at all."""


class Trouble(Exception):  # noqa: N818 - becomes part of a sentence; users see a DataError
    """What went wrong with one address, as the words that follow it."""

    def __init__(self, words: str, again: Again, wait_s: float | None = None) -> None:
        super().__init__(words)
        self.again = again
        self.wait_s = wait_s


class WrongFile(Trouble):
    """An address gives another file than the one that is wanted."""

    def __init__(self, words: str) -> None:
        super().__init__(words, "never")


BUSY = {408, 425, 429, 500, 502, 503, 504}
FINAL = {401, 405, 407, 410, 451}
HINTS = {
    401: " (it wants a token, see SCIDENT_TOKENS)",
    403: " (not allowed, or not to programs)",
    404: " (no such file)",
    407: " (the proxy wants a name and a password)",
    429: " (asked too often)",
}


def refusal(response: Response) -> Trouble:
    """Say what an HTTP status other than the wanted one means."""
    status = response.status_code
    words = f"answers with status {status}{HINTS.get(status, '')}"
    if status in BUSY:
        return Trouble(words, "now", retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC)))
    return Trouble(words, "never" if status in FINAL else "later")


def retry_after(header: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header (seconds or a date) asks for, None if it says nothing readable.

    >>> retry_after("Wed, 21 Oct 2015 07:28:00 GMT", datetime(2015, 10, 21, 7, 27, tzinfo=UTC))
    60.0
    """
    if header.strip().isdecimal():
        return float(header)
    try:
        then = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max((then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds(), 0.0)
