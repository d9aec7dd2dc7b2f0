"""Run a stage's work in a child process, so that whatever happens to it becomes a row and not a stopped benchmark."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from scident.errors import reason_of

log = logging.getLogger(__name__)

STOPPING = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Job:
    """A stage's work and how its declared outputs are written when it comes to nothing."""

    work: Callable[[dict[str, Any]], None]
    write_failed: Callable[[dict[str, Any], str], None]

    def run(self, task: dict[str, Any], last: bool) -> int:
        """Do the work in a child process and return the exit status of the command.

        A signal ends the child too. SIGINT is the user's and writes nothing. Neither does SIGTERM, since Snakemake
        sends it to its jobs when it is interrupted itself, unless a scheduler runs the job (``SLURM_JOB_ID`` is set)
        and this is the last attempt: then it is the time limit, no other attempt follows, and the job is a failed row.

        Parameters
        ----------
        task
            The stage's specification.
        last
            Whether this is the last attempt.

        Returns
        -------
        0 if the outputs exist, good or failed; 1 if the child was killed and another attempt may get more memory or
        time; 128 + the number of a signal that ended the job with nothing written (130, 143).
        """
        child = multiprocessing.get_context("fork").Process(target=self._work, args=(task,))
        received: list[int] = []

        def stop(number: int, _: FrameType | None) -> None:
            received.append(number)
            child.terminate()

        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # until there is a child to end
        before = {number: signal.signal(number, stop) for number in STOPPING}
        try:
            try:
                child.start()
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            child.join()
            return self._ended(task, last, child.exitcode, received)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ended(self, task: dict[str, Any], last: bool, exitcode: int | None, received: Sequence[int]) -> int:
        """Write what is still owed and return the exit status."""
        if exitcode == 0:
            return 0
        time_limit = last and "SLURM_JOB_ID" in os.environ and signal.SIGINT not in received
        if received and not time_limit:
            return 128 + received[0]
        log.error("the worker died with exit code %s%s", exitcode, "" if last else "; another attempt follows")
        if not last:
            return 1
        self.write_failed(task, "killed")
        return 0

    def _work(self, task: dict[str, Any]) -> None:
        for number in STOPPING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        try:
            self.work(task)
        except Exception as error:
            log.exception("failed")
            self.write_failed(task, reason_of(error))
