"""How long to wait for a server, and how often to ask it again."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Waits and limits of a download; the defaults suit files of gigabytes on ordinary lines."""

    connect_s: float = 15.0
    """Longest wait for a connection, seconds."""
    read_s: float = 60.0
    """Longest silence of a server that is connected, seconds."""
    window_s: float = 60.0
    """Time over which the speed of a transfer is judged, seconds."""
    slowest: float = 1000.0
    """Bytes per second below which the next address is tried."""
    attempts: int = 5
    """Requests in a row that bring nothing new before an address is given up."""
    first_wait_s: float = 1.0
    """Wait before the second request, seconds; doubled before each further one."""
    longest_wait_s: float = 300.0
    """Longest wait before a request, seconds; a server that asks for more is left for the next address."""
    rounds: int = 2
    """How often the list of addresses is gone through."""
    round_wait_s: float = 10.0
    """Wait between two rounds, seconds."""
    sleep: Callable[[float], None] = time.sleep

    def wait_s(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        return min(self.first_wait_s * 2.0 ** max(failures - 1, 0), self.longest_wait_s)
