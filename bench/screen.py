"""Prepare, split and train on a made screen, each stage in a process of its own, and say what it took.

``python -m bench.screen FOLDER --cells 300000 --genes 8000`` writes some 12 GB into FOLDER and as much, for a while,
into the folder that TMPDIR names. Linux alone tells anonymous memory from mapped files.
"""

import argparse
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.streaming import Timed, products
from bench.timing import seconds

log = logging.getLogger(__name__)

EVERY_S = 0.05
SHARE = 0.1
"""Of an epoch, done as bare products."""
SPEC: dict[str, Any] = {
    "dataset": "screen",
    "split": "iid",
    "plugins": [str(Path(__file__).with_name("made_screen.py"))],
}


def prepare(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """Draw the screen and write it."""
    from scident.stages import data

    spec = SPEC | {"name": "screen", "kind": "datasets", "use": "made_screen", "params": size}
    data.run(spec, 0, folder / "r0.h5ad", None, folder)
    return {}


def cut(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """Split it."""
    from scident.stages import split

    spec = SPEC | {"name": "iid", "use": "iid", "protocol": "heldout", "params": {}, "replicates": [0]}
    split.run(spec, [folder / "r0.h5ad"], *(folder / name for name in ("parts.parquet", "train.h5ad", "parts.sha256")))
    return {}


def fit(folder: Path, size: dict[str, int]) -> dict[str, float]:
    """Train one compiled member for an epoch, after one that pays for compiling."""
    from scident.engine.trainer import Loop
    from scident.stages import train

    epochs: list[dict[str, float]] = []
    plain = Loop.epoch

    def timed(loop: Loop) -> None:
        loop.data.store = store = Timed(getattr(loop.data.store, "store", loop.data.store))  # type: ignore[assignment]
        wall = seconds(lambda: plain(loop))
        epochs.append({"cells": loop.n_train, "val": loop.n_val, "epoch_s": wall, "loader_s": store.seconds})

    Loop.epoch = timed  # type: ignore[method-assign]
    grid = {"default": {"epochs": 2, "compile": "auto"}}
    more = {
        "model": "svae-plus",
        "use": "svae_plus",
        "grid": grid,
        "n_latents": 15,
        "members": [[0, 0, 0]],
        "seeds": [0],
    }
    rest = {"published": False, "selection": "val_nelbo", "iwelbo_samples": 0, "predict": False, "hash_code": "0" * 16}
    train.run(SPEC | more | rest, folder / "train.h5ad", folder / "trained")
    last = epochs[-1]
    some = round(SHARE * last["cells"]), round(SHARE * last["val"])
    unit_s = seconds(lambda: products(size["genes"], *some)) / SHARE
    return {
        "us_per_cell": 1e6 * last["epoch_s"] / last["cells"],
        "speed_of_products": unit_s / last["epoch_s"],
        "loader_share": last["loader_s"] / last["epoch_s"],
    }


def _anonymous_mb() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1e3


def _measured(stage: Callable[..., dict[str, float]], folder: Path, size: dict[str, int], pipe: Any) -> None:
    torch.set_num_threads(1)
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(EVERY_S):
            peak[0] = max(peak[0], _anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        found = stage(folder, size)
    finally:
        done.set()
        watcher.join()
    pipe.send({"wall_s": time.perf_counter() - start, "anonymous_mb": peak[0]} | found)


def main() -> None:
    """Run the three stages and log what each took."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=300_000)
    parser.add_argument("--genes", type=int, default=8_000)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    for stage in (prepare, cut, fit):
        mine, theirs = context.Pipe()
        size = {"cells": given.cells, "genes": given.genes}
        worker = context.Process(target=_measured, args=(stage, given.folder, size, theirs))
        worker.start()
        theirs.close()
        found = mine.recv()
        worker.join()
        log.info("%s: %s", stage.__name__, ", ".join(f"{name} {value:,.3g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
