"""Fitting the shifts of held-out perturbations by gradient, against training."""

import numpy as np

from bench.likelihood import cells, model
from bench.problem import LATENTS, TRAIN, loop
from bench.table import Row
from bench.timing import ratio
from scident.models._heldout import Prepared
from scident.models.svae_plus import Params

CELLS, EPOCHS = 5_000, 4


def rows() -> list[Row]:
    """Measure an epoch of the published fit per cell against an epoch of training, both eager, one thread."""
    prepared = Prepared(Params(epochs=EPOCHS), LATENTS)
    shape = model(False).state["shift"].shape
    prepared.state = model(False).state | {"mask": np.ones(shape, dtype=np.float32)}
    few, running = cells(CELLS), loop(1)
    speed, _ = ratio(lambda: prepared.adapt(few, np.random.default_rng(0), published=True), running.epoch)
    share = (EPOCHS * CELLS / TRAIN) ** -1 / speed
    closed, _ = ratio(lambda: prepared.adapt(few, np.random.default_rng(0)), running.epoch)
    note = f"the closed form, all in all: {TRAIN / CELLS / closed:.3f}"
    return [
        Row(
            "held-out shifts by gradient, per epoch and cell",
            "a training epoch",
            f"{share:.2f}",
            "≤ 0.25",
            "closed form",
            share <= 0.25,
            note,
        )
    ]
