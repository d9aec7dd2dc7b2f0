"""Waiting costs no time, and the environment of the machine plays no part."""

from dataclasses import dataclass, field

import pytest

from scident.download import Patience

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in (*NAMES, *map(str.upper, NAMES), "SCIDENT_CACHE", "SCIDENT_OFFLINE", "SCIDENT_TOKENS"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Waits:
    """Seconds that would have been waited."""

    seconds: list[float] = field(default_factory=list)

    def patience(self, **changes) -> Patience:
        quick = {"connect_s": 5.0, "read_s": 10.0, "window_s": 0.1, "slowest": 5_000.0, "sleep": self.seconds.append}
        return Patience(**(quick | changes))


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"
