"""The importance-weighted bound, against the matrix products of its decoder."""

import anndata as ad
import numpy as np
import pandas as pd

from bench.problem import DECODER, LATENTS, PERTURBATIONS, Products, loop, world
from bench.table import Row
from bench.timing import ratio
from scident.models._count_vae import BLOCK
from scident.models.svae_plus import Params, SVAEPlus

SAMPLES, CELLS = 1_000, 5_000


def model(compile: bool | str) -> SVAEPlus:
    """Return a member as it is after two epochs."""
    running = loop(1)
    running.epoch()
    running.epoch()
    running.write_back([0])
    found = SVAEPlus(Params(compile=compile), LATENTS)
    found.state = running.members[0].state.arrays()
    return found


def cells(number: int = CELLS) -> ad.AnnData:
    """Return some cells of the reference problem."""
    counts, labels = world()
    every = slice(None, None, len(labels) // number)
    names = [f"p{k:03}" for k in range(PERTURBATIONS)]
    kind = pd.Categorical.from_codes(labels[every][:number], names)
    obs = pd.DataFrame({"perturbation": kind, "is_control": kind == names[0]}, index=np.arange(number).astype(str))
    obs["context"] = pd.Categorical(["all"] * number)
    return ad.AnnData(counts[every][:number], obs=obs)


def rows() -> list[Row]:
    """Measure eager and compiled."""
    few = cells()
    products = Products(DECODER, BLOCK, trained=False)
    found = []
    for what, setting in (("compiled", "auto"), ("eager", False)):
        one = model(setting)
        share, seconds = ratio(
            lambda one=one: one.likelihood(few, np.random.default_rng(0), SAMPLES),
            lambda: products(round(SAMPLES * CELLS / BLOCK)),
            repeats=5,
        )
        bar = ("≥ 60%", "80%", share >= 0.6) if what == "compiled" else ("", "", None)
        text = f"IWELBO, {SAMPLES:,} × {CELLS:,} cells, {what}"
        found.append(Row(text, "its products' speed", f"{share:.0%}", *bar, f"{seconds:.1f} s"))
    return found
