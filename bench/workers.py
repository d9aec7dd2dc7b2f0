"""Two processes of one thread each, against one."""

import multiprocessing
import statistics
import time
from typing import Any

import torch

from bench.problem import loop
from bench.table import Row

EPOCHS, REPEATS = 4, 5


def rows() -> list[Row]:
    """Measure how many epochs a second two processes do together, in turns with one process."""
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(2)]
    workers = [context.Process(target=_work, args=(theirs,), daemon=True) for _, theirs in ends]
    for worker in workers:
        worker.start()
    for mine, _ in ends:
        mine.recv()
    alone = [mine for mine, _ in ends[:1]]
    both = [mine for mine, _ in ends]
    found = []
    for _ in range(REPEATS):
        single, double = _throughput(alone), _throughput(both)
        found.append(double / single)
    for mine in both:
        mine.send(0)
    gain = statistics.median(found)
    return [
        Row("two processes of one thread, throughput", "one process", f"{gain:.2f}", "≥ 1.85", "1.97", gain >= 1.85)
    ]


def _throughput(pipes: list[Any]) -> float:
    start = time.perf_counter()
    for pipe in pipes:
        pipe.send(EPOCHS)
    for pipe in pipes:
        pipe.recv()
    return len(pipes) * EPOCHS / (time.perf_counter() - start)


def _work(pipe: Any) -> None:
    """Train so many epochs as asked for, until it is none."""
    torch.set_num_threads(1)
    running = loop(1)
    running.epoch()
    pipe.send("ready")
    while epochs := pipe.recv():
        for _ in range(epochs):
            running.epoch()
        pipe.send("done")
