"""What becomes of a stage whose work fails or is killed. Each case is a process of its own: it handles signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scident.errors import NonFiniteError
from scident.guard import Job

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from scident.guard import Job

def work(task):
    folder = Path(task["folder"])
    (folder / "started").write_text(str(os.getpid()))
    {work}

def write_failed(task, reason):
    (Path(task["folder"]) / "failed").write_text(reason)

sys.exit(Job(work, write_failed).run({{"folder": sys.argv[1]}}, last=sys.argv[2] == "last"))
"""
DIES = "os.kill(os.getpid(), signal.SIGKILL)"
RAISES = "raise ValueError('no such thing')"
SUCCEEDS = "(folder / 'done').write_text('yes')"
SLEEPS = "time.sleep(60)"


def start(folder: Path, work: str, last: bool = True):
    command = [sys.executable, "-c", SCRIPT.format(work=work), str(folder), "last" if last else "not last"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def written(folder):
    return {p.name: p.read_text() for p in folder.iterdir() if p.name != "started"}


@pytest.mark.parametrize(
    ("work", "last", "status", "files"),
    [
        (SUCCEEDS, False, 0, {"done": "yes"}),
        (RAISES, False, 0, {"failed": "exception: ValueError: no such thing"}),
        ("raise MemoryError", False, 0, {"failed": "oom"}),
        (DIES, False, 1, {}),
        (DIES, True, 0, {"failed": "killed"}),
        ("sys.exit(3)", True, 0, {"failed": "killed"}),
    ],
)
def test_a_job_ends_with_its_outputs_or_asks_for_another_attempt(tmp_path, work, last, status, files):
    assert start(tmp_path, work, last).wait(30) == status
    assert written(tmp_path) == files


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_worker_too_and_writes_nothing(tmp_path, number):
    parent = start(tmp_path, SLEEPS)
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").is_file() or not (tmp_path / "started").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)  # the parent sets its handlers just after the worker has started
    worker = int((tmp_path / "started").read_text())
    parent.send_signal(number)
    assert parent.wait(30) == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert written(tmp_path) == {}


@pytest.fixture
def handlers():
    """Put signal handlers back."""
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("error", "reason"), [(NonFiniteError("loss"), "nonfinite_loss"), (KeyError("x"), "exception: KeyError: 'x'")]
)
def test_the_workers_exception_becomes_the_reason(error, reason):
    reasons = []

    def work(task):
        raise error

    Job(work, lambda task, why: reasons.append((task, why)))._work({"a": 1})
    assert reasons == [({"a": 1}, reason)]
