"""The reference problem, and the same floating-point work as bare matrix products."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch

from scident.engine.batches import Cells
from scident.engine.stack import initial_state
from scident.engine.trainer import Loop, Progress, Schedule
from scident.models.svae_plus import Params, SVAEPlusNetwork
from scident.simulators import sparse_shift

TRAIN, VAL, GENES, LATENTS, WIDTH, BATCH, PERTURBATIONS = 18_000, 2_000, 100, 15, 128, 128, 100
ENCODER = [(WIDTH, GENES), (WIDTH, WIDTH), (LATENTS, WIDTH), (LATENTS, WIDTH)]
DECODER = [(WIDTH, LATENTS), (WIDTH, WIDTH), (GENES, WIDTH)]
"""(out, in) of the linear layers."""

HYPER = {"warmup_epochs": 50.0, "beta": 1.0, "scale": float(TRAIN), "penalty": 100.0, "n_train": float(TRAIN)}


@cache
def world() -> tuple[np.ndarray, np.ndarray]:
    """Return counts and labels of the released sparse shift, 250 cells of each of 80 trained perturbations."""
    cells = sparse_shift.simulate(sparse_shift.Params(), np.random.default_rng(0))
    labels = cells.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)
    trained = labels < 80
    return np.asarray(cells.X[trained], dtype=np.float32), labels[trained]


def loop(members: int, device: torch.device | None = None, **schedule: object) -> Loop:
    """Return a training loop of so many sVAE+ members with the released settings."""
    counts, labels = world()
    data = Cells([counts], [labels], device or torch.device("cpu"), torch.float32)
    network = SVAEPlusNetwork(Params(), GENES, LATENTS, PERTURBATIONS)
    seeds = [np.random.SeedSequence(k) for k in range(members)]
    states = [initial_state(network.parameters(), network.buffers(), HYPER, s, torch.float32) for s in seeds]
    started = [Progress(state, s, (0, TRAIN), 1e-3, 10**6, 10**6) for state, s in zip(states, seeds, strict=True)]
    return Loop(network, started, data, TRAIN, VAL, Schedule(BATCH, **schedule))  # type: ignore[arg-type]


def flop_per_cell(shapes: list[tuple[int, int]], trained: bool) -> int:
    """Count multiplications and additions of matrix products; training adds both gradients, but none of the input."""
    forward = sum(2 * out * inputs for out, inputs in shapes)
    return 3 * forward - 2 * shapes[0][0] * shapes[0][1] if trained else forward


def flop_per_epoch() -> int:
    """Count the floating-point work of an epoch of one member, validation included."""
    both = ENCODER + DECODER
    return TRAIN * flop_per_cell(both, trained=True) + VAL * flop_per_cell(both, trained=False)


@dataclass(frozen=True)
class Products:
    """Matrix products at the sizes of some layers, for batches of `cells`."""

    shapes: list[tuple[int, int]]
    cells: int
    trained: bool

    @cached_property
    def operands(self) -> list[list[torch.Tensor]]:
        """Of each layer."""
        return [_operands(out, inputs, self.cells) for out, inputs in self.shapes]

    def __call__(self, times: int) -> None:
        """Multiply as one step does, so many times."""
        for _ in range(times):
            for number, (weight, x, slope, y, to_weight, to_x) in enumerate(self.operands):
                torch.mm(weight, x, out=y)
                if self.trained:
                    torch.mm(slope, x.T, out=to_weight)
                    if number > 0:
                        torch.mm(weight.T, slope, out=to_x)


def _operands(out: int, inputs: int, cells: int) -> list[torch.Tensor]:
    sizes = [(out, inputs), (inputs, cells), (out, cells), (out, cells), (out, inputs), (inputs, cells)]
    return [torch.ones(size) for size in sizes]


def unit() -> None:
    """Do the floating-point work of an epoch of one member as matrix products at the sizes of its layers."""
    Products(ENCODER + DECODER, BATCH, trained=True)(round(TRAIN / BATCH))
    Products(ENCODER + DECODER, BATCH, trained=False)(round(VAL / BATCH))
