"""Do FCR's discriminators tell dependent blocks from independent ones, and are the released ones inert? (fcr.md §11)"""

import math

import numpy as np
import pytest
import torch

from _tiny import CPU, stack_of, streams
from scident.engine.batches import Batch
from scident.engine.optimiser import Adam
from scident.models import fcr
from scident.models._design import Design
from scident.models._fcr_discriminators import Discriminators
from scident.models._fcr_terms import Gaussian

CONTEXTS, PERTURBATIONS, CELLS = 3, 4, 512
SIZES = 2, 2, 2
DESIGN = Design(1, 6, PERTURBATIONS, ("a", "b", "c"), "normal", 0, ("x", "x", "tx", "tx", "t", "t"))
STEPS = 200


def judges(negatives) -> Discriminators:
    return Discriminators(fcr.Params(negatives=negatives), DESIGN)


class Declared:
    """The discriminators as a network that has nothing else."""

    def __init__(self, discriminators):
        self.parameters = discriminators.parameters

    @staticmethod
    def buffers():
        return {}


def encoder(correlation):
    """Return generator → posteriors of cells whose z_x and z_t have a correlation with z_tx within each condition."""
    tables = torch.randn(CONTEXTS * PERTURBATIONS, 6, generator=torch.Generator().manual_seed(9))

    def encode(generator, cells=CELLS):
        contexts = torch.randint(CONTEXTS, (1, cells), generator=generator)
        labels = torch.randint(PERTURBATIONS, (1, cells), generator=generator)
        x, tx, t = torch.randn(3, 1, 2, cells, generator=generator)
        rest = math.sqrt(1 - correlation**2)
        within = torch.cat([correlation * tx + rest * x, tx, correlation * tx + rest * t], 1)
        # z_x differs by context, z_t by perturbation, z_tx by both: dependent, as they may be, but not given the label
        pairs = contexts[0] * PERTURBATIONS + labels[0]
        shift = torch.cat([tables[contexts[0], :2], tables[pairs, 2:4], tables[labels[0], 4:]], 1)
        mean = within + shift.T[None]
        batch = Batch(torch.zeros(1, 1, cells), torch.zeros(1, 1, cells), labels, contexts)
        return Gaussian(mean, torch.full_like(mean, -1.0)), batch

    return encode


def cross_entropy(negatives, correlation):
    """Train the discriminators on fresh cells at every step; return their loss on others."""
    found, random = judges(negatives), streams(0, dtype=torch.float32)
    stack = stack_of(Declared(found), {}, dtype=torch.float32)
    generator, encode = torch.Generator(CPU).manual_seed(1), encoder(correlation)

    def loss(cells=CELLS):
        q, batch = encode(generator, cells)
        z = q.sample(torch.randn(q.mean.shape, generator=generator))
        return found.loss(stack, q, z, batch, found.noise(random, cells))

    adam = Adam(stack, [1e-2], 1e-8, 0, [{}])
    for _ in range(STEPS):
        adam.step(torch.autograd.grad(loss().sum(), list(stack.p.values())))
    with torch.no_grad():
        return float(np.mean([float(loss(8 * CELLS)) for _ in range(4)]))


def test_independent_blocks_leave_the_discriminators_at_chance():
    assert cross_entropy("permuted", 0.0) == pytest.approx(math.log(2), abs=0.01)


def inert(negatives, correlation=0.8):
    """Assert fcr.md §11.4: real and made-up pairs correlate equally, and nothing is learned from them."""
    found, random = judges(negatives), streams(0, dtype=torch.float32)
    generator, encode, seen = torch.Generator(CPU).manual_seed(2), encoder(correlation), {"x": [], "t": []}
    for _ in range(40):
        q, batch = encode(generator)
        z = q.sample(torch.randn(q.mean.shape, generator=generator))
        for block, *pairs, _ in found.pairs(q, z, batch, found.noise(random, CELLS)):
            seen[block].append(torch.stack(pairs)[:, 0])
    for batches in seen.values():
        real, made = (torch.corrcoef(pairs)[:2, 2:] for pairs in torch.cat(batches, 2))
        assert float((real - made).abs().max()) < 0.02
    assert cross_entropy(negatives, correlation) == pytest.approx(math.log(2), abs=0.01)


def biting(negatives, correlation=0.8):
    """Assert that dependent blocks are found out: below chance by four times the tolerance of `inert`."""
    assert cross_entropy(negatives, correlation) < math.log(2) - 0.04


def test_released_pairs_teach_nothing_and_real_permutations_do():
    """S8, and each test goes red with the other's pairs."""
    inert("resampled")
    with pytest.raises(AssertionError):
        inert("permuted")
    biting("permuted")
    with pytest.raises(AssertionError):
        biting("resampled")
