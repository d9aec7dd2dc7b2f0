"""Prepare, split, batch and train on a made screen, each in a process of its own, and keep what it took.

``python -m bench.screen`` does all for 300,000 cells × 8,000 genes, ``--cells 30000`` for a tenth of them,
``--only fit`` one of them. Files go to ``results/screen/CELLS/`` (8 GB of 300,000 cells) and, for a
while, half as much to the folder that TMPDIR names; ``results/screen/CELLS.json`` is what `make bench` reports.
"""

import argparse
import json
import logging
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.made_screen import Params as Size
from bench.memory import watched
from bench.problem import BATCH
from bench.streaming import Timed, each, products, sliced
from bench.timing import ratio, seconds
from scident import io
from scident.engine.streaming import Streamed

log = logging.getLogger(__name__)

FOLDER = Path("results/screen")
SAMPLE, REPEATS = 36, 5
"""Batches of an epoch done as bare products, and those of validation that belong to them: before it and after it."""
BATCHES = 20
"""Made in a row before it is scipy's turn."""
BYTES = 6
"""Of an entry: a count and the number of its gene."""
SPEC: dict[str, Any] = {
    "dataset": "screen",
    "split": "iid",
    "plugins": [str(Path(__file__).with_name("made_screen.py"))],
}

Figures = dict[str, float]


def prepare(folder: Path, size: dict[str, int]) -> Figures:
    """Draw the screen and write it."""
    from scident.stages import data

    spec = SPEC | {"name": "screen", "kind": "datasets", "use": "made_screen", "params": size}
    data.run(spec, 0, folder / "r0.h5ad", None, folder)
    return {}


def cut(folder: Path, size: dict[str, int]) -> Figures:
    """Split it."""
    from scident.stages import split

    spec = SPEC | {"name": "iid", "use": "iid", "protocol": "heldout", "params": {}, "replicates": [0]}
    split.run(spec, [folder / "r0.h5ad"], *(folder / name for name in ("parts.parquet", "train.h5ad", "parts.sha256")))
    return {}


def assemble(folder: Path, size: dict[str, int]) -> Figures:
    """Make batches of the training cells, in turns with scipy, both from the file."""
    del size
    x = io.read_data(folder / "train.h5ad").X
    store = Streamed([x], torch.device("cpu"), torch.float32)
    order = torch.randperm(x.shape[0], generator=torch.Generator().manual_seed(0))
    batches = list(order[: BATCHES * BATCH].view(-1, 1, BATCH))
    gain, taken = ratio(lambda: each(store.gather, batches), lambda: each(lambda rows: sliced(x, rows), batches))
    return {"gain": gain, "ms_a_batch": 1e3 * taken / len(batches)}


def fit(folder: Path, size: dict[str, int]) -> Figures:
    """Train one compiled member for an epoch, after one that pays for compiling; products are done around it."""
    from scident.engine.trainer import Loop
    from scident.stages import train

    epochs: list[Figures] = []
    plain = Loop.epoch

    def timed(loop: Loop) -> None:
        loop.data.store = store = Timed(getattr(loop.data.store, "store", loop.data.store))  # type: ignore[assignment]
        share = SAMPLE * BATCH / loop.n_train
        some = SAMPLE * BATCH, round(share * loop.n_val)
        unit = [seconds(lambda: products(size["genes"], *some)) for _ in range(REPEATS)]
        wall = seconds(lambda: plain(loop))
        unit += [seconds(lambda: products(size["genes"], *some)) for _ in range(REPEATS)]
        epochs.append(
            {
                "us_per_cell": 1e6 * wall / loop.n_train,
                "speed_of_products": statistics.median(unit) / share / wall,
                "loader_share": store.seconds / wall,
            }
        )

    Loop.epoch = timed  # type: ignore[method-assign]
    which = {"model": "svae-plus", "use": "svae_plus", "n_latents": 15, "members": [[0, 0, 0]], "seeds": [0]}
    how = {"grid": {"default": {"epochs": 2, "compile": "auto"}}, "selection": "val_nelbo", "published": False}
    rest = {"iwelbo_samples": 0, "predict": False, "hash_code": "0" * 16}
    with tempfile.TemporaryDirectory(dir=folder) as trained:  # nothing there to resume
        train.run(SPEC | which | how | rest, folder / "train.h5ad", Path(trained))
    _, found = epochs
    return found


STAGES: dict[str, Callable[[Path, dict[str, int]], Figures]] = {
    "prepare": prepare,
    "cut": cut,
    "assemble": assemble,
    "fit": fit,
}


def _measured(stage: str, folder: Path, size: dict[str, int], pipe: Any) -> None:
    torch.set_num_threads(1)
    start = time.perf_counter()
    with watched() as peak:
        found = STAGES[stage](folder, size)
    pipe.send({"wall_s": time.perf_counter() - start, "anonymous_mb": peak.mb} | found)


def _need_space(folder: Path, size: dict[str, int]) -> None:
    entries = size["cells"] * size["genes"] * Size().filled
    for place, times in ((folder, 2), (Path(tempfile.gettempdir()), 1)):
        free, wanted = shutil.disk_usage(place).free, times * BYTES * entries
        if free < wanted:
            raise SystemExit(f"{place} has {free / 1e9:.0f} GB free, but {wanted / 1e9:.0f} GB are needed; use another")


def main() -> None:
    """Run the stages and keep what each took."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=STAGES, help="one stage, those before it having been run")
    parser.add_argument("--cells", type=int, default=300_000)
    parser.add_argument("--genes", type=int, default=8_000)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    folder, size = given.folder / str(given.cells), {"cells": given.cells, "genes": given.genes}
    folder.mkdir(parents=True, exist_ok=True)
    _need_space(folder, size)
    figures = given.folder / f"{given.cells}.json"
    context = multiprocessing.get_context("spawn")
    for stage in [given.only] if given.only else STAGES:
        mine, theirs = context.Pipe()
        worker = context.Process(target=_measured, args=(stage, folder, size, theirs))
        worker.start()
        theirs.close()
        found = mine.recv()
        worker.join()
        known = json.loads(figures.read_text()) if figures.is_file() else {}
        figures.write_text(json.dumps(known | {stage: found}, indent=1))
        log.info("%s: %s", stage, ", ".join(f"{name} {value:,.3g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
