"""What scident raises. Every message is one sentence for the user: what is wrong, what was found, where, what to do."""

import difflib
from collections.abc import Iterable


class ScidentError(Exception):
    """A mistake the user can mend; the command line prints the message and no traceback."""


class ConfigError(ScidentError):
    """The configuration asks for something that does not exist or cannot be."""


class DataError(ScidentError):
    """A user's data file cannot be used as it is."""


class ContractError(ScidentError):
    """A file between two stages does not hold what it must hold."""


class PluginError(ScidentError):
    """A plug-in is unknown or does not keep the form of its kind."""


class NonFiniteError(ScidentError):
    """A model produced NaN or infinity; becomes the status ``failed:nonfinite_<what>``."""

    def __init__(self, what: str) -> None:
        super().__init__(f"nonfinite_{what}")


class NotApplicable(Exception):  # noqa: N818 - a status, not an error
    """A metric does not apply here; becomes the status ``not_applicable:<reason>``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'pca'?`` for the known word closest to `word`, or nothing if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def reason_of(error: BaseException) -> str:
    """Return what stands behind ``failed:`` in the score table."""
    if isinstance(error, ScidentError):  # a sentence for the user, or nonfinite_<what>
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "oom"
    return f"exception: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
