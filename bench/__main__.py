"""Measure everything and rewrite docs/bench.md."""

import logging
import os
import platform
from pathlib import Path

import torch

from bench import gpu, heldout, likelihood, run, screen_figures, streaming, training, workers
from bench.problem import flop_per_epoch, unit
from bench.table import markdown
from bench.timing import seconds
from scident.engine.trainer import fast_bfloat16

PAGE = """# How fast it is

Written by `make bench`. Reference problem: 18,000 training and 2,000 validation cells × 100 genes of the released
sparse shift, 15 latents, encoder and decoder 2 × 128, batch 128, 100 perturbations, sVAE+ with the released settings.

The unit is the time that the floating-point work of an epoch of one member, {flop:.2f} GFLOP, takes as bare
single-precision products at the sizes of the layers on one core, here {unit:.3f} s. Figures are ratios within one run:
medians over 5 to 7 repeats in turns with what they are measured against. Training includes validation, random numbers
and the optimiser; compile time (half a minute) is left out.

Machine: {machine}.

## One core

{core}

## Processes and the workflow

{workflow}

The first figure of a run does not hold the workflow engine's own process. Figures of 300,000 cells are those of the
last `python -m bench.screen`, which needs 12 GB of disk, and `python -m bench.screen --cells 30000`: one compiled
member, one epoch after the one that compiles, in a process of its own, against products done just before and after.

## GPU

{gpu}
"""


def machine() -> str:
    """Describe the machine in general words."""
    cores, capability = os.cpu_count(), torch.backends.cpu.get_cpu_capability()
    bfloat16 = "with" if fast_bfloat16(torch.device("cpu")) else "without"
    return (
        f"{cores} cores, {platform.machine()}, {capability}, {bfloat16} bfloat16 products, PyTorch {torch.__version__}"
    )


def main() -> None:
    """Measure and write."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    unit()
    parts = {}
    for name, measured in (
        ("core", [training.rows, likelihood.rows, heldout.rows, streaming.rows]),
        ("workflow", [workers.rows, run.rows, screen_figures.rows]),
    ):
        rows = [row for rows in measured for row in rows()]
        parts[name] = markdown(rows)
        logging.info("%s", parts[name])
    text = PAGE.format(
        flop=flop_per_epoch() / 1e9,
        unit=min(seconds(unit) for _ in range(5)),
        machine=machine(),
        gpu=gpu.text(),
        **parts,
    )
    Path("docs/bench.md").write_text(text)


if __name__ == "__main__":
    main()
