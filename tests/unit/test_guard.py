"""What becomes of a stage whose work fails or is killed. Each case is a process of its own: it handles signals."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scident.errors import NonFiniteError
from scident.guard import STOPPING, Job

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


def start(folder: Path, work: str, last: bool = True, scheduled: bool = False):
    command = [sys.executable, "-c", SCRIPT.format(work=work), str(folder), "last" if last else "not last"]
    around = {name: value for name, value in os.environ.items() if name != "SLURM_JOB_ID"}
    around |= {"SLURM_JOB_ID": "7"} if scheduled else {}
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=around)


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


@pytest.mark.parametrize(
    ("number", "last", "scheduled", "status", "files"),
    [
        (signal.SIGTERM, True, False, 143, {}),
        (signal.SIGTERM, False, False, 143, {}),
        (signal.SIGTERM, False, True, 143, {}),
        (signal.SIGTERM, True, True, 0, {"failed": "killed"}),
        (signal.SIGINT, True, False, 130, {}),
        (signal.SIGINT, True, True, 130, {}),
    ],
)
def test_a_signal_ends_the_worker_too_and_only_a_time_limit_is_a_result(
    tmp_path, number, last, scheduled, status, files
):
    parent = start(tmp_path, SLEEPS, last, scheduled)
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").is_file() or not (tmp_path / "started").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker = int((tmp_path / "started").read_text())
    parent.send_signal(number)
    assert parent.wait(30) == status
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert written(tmp_path) == files


def test_a_signal_that_comes_before_the_worker_is_there_ends_it_too(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    real = multiprocessing.get_context("fork").Process.start

    def start_late(process):
        signal.raise_signal(signal.SIGTERM)
        real(process)

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", start_late)
    wrote = []
    assert Job(lambda _: time.sleep(60), lambda *failed: wrote.append(failed)).run({}, last=True) == 143
    assert wrote == []


def test_handlers_are_put_back(tmp_path):
    before = [signal.getsignal(number) for number in STOPPING]
    assert Job(lambda _: None, lambda *_: None).run({}, last=True) == 0
    assert [signal.getsignal(number) for number in STOPPING] == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(STOPPING)


@pytest.fixture
def handlers():
    """Put signal handlers back."""
    before = {s: signal.getsignal(s) for s in STOPPING}
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
