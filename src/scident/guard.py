"""Run a stage's work in a child process, so that whatever happens to it becomes a row and not a stopped benchmark."""

import logging
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from scident.errors import reason_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A stage's work and how its declared outputs are written when it comes to nothing."""

    work: Callable[[dict[str, Any]], None]
    write_failed: Callable[[dict[str, Any], str], None]

    def run(self, task: dict[str, Any], last: bool) -> int:
        """Do the work in a child process and return the exit status of the command.

        Parameters
        ----------
        task
            The stage's specification.
        last
            Whether this is the last attempt.

        Returns
        -------
        0 if the outputs exist, good or failed; 1 if the child was killed and another attempt may get more memory or
        time.
        """
        child = multiprocessing.get_context("fork").Process(target=self._work, args=(task,))
        child.start()

        def forward(number: int, _: FrameType | None) -> None:
            child.terminate()
            child.join()
            raise SystemExit(128 + number)

        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, forward)
        child.join()
        if child.exitcode == 0:
            return 0
        log.error("the worker died with exit code %s%s", child.exitcode, "" if last else "; another attempt follows")
        if not last:
            return 1
        self.write_failed(task, "killed")
        return 0

    def _work(self, task: dict[str, Any]) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        try:
            self.work(task)
        except Exception as error:
            log.exception("failed")
            self.write_failed(task, reason_of(error))
