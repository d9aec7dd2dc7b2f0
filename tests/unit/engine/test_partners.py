"""Partners share context and part, are controls, and are drawn anew and evenly."""

import numpy as np
import torch

from _tiny import CPU, progress, streams
from scident.engine.batches import Cells
from scident.engine.partners import Partners
from scident.engine.progress import Schedule
from scident.engine.stack import constant
from scident.engine.trainer import Network, train

N_TRAIN, N_VAL = 40, 16
WORLDS = 2


def cells(without=None):
    """Two worlds of training and validation cells; the first gene is the cell's own row number.

    `without`: a context that has no control among the training cells of the first world.
    """
    rng = np.random.default_rng(0)
    sizes = [N_TRAIN, N_VAL] * WORLDS
    contexts = [rng.integers(0, 3, n) for n in sizes]
    control = [rng.random(n) < 0.4 for n in sizes]
    control = [c | (np.arange(len(c)) < 6) for c in control]
    for block in contexts:
        block[:6] = [0, 1, 2, 0, 1, 2]  # each context has a control everywhere
    if without is not None:
        control[0] &= contexts[0] != without
    rows = np.arange(sum(sizes), dtype=np.float32)
    counts = np.split(np.stack([rows, np.ones_like(rows)], axis=1), np.cumsum(sizes)[:-1])
    labels = [np.where(c, 0, 1).astype(np.int64) for c in control]
    return Cells(counts, labels, CPU, torch.float64, contexts, control)


class Watched(Network):
    """Remembers its batches."""

    wants_partner = True

    def __init__(self):
        self.trained, self.validated = [], []

    def parameters(self):
        return {"w": constant(0, 1)}

    def buffers(self):
        return {}

    def loss(self, stack, batch, noise, epoch):
        self.trained.append(batch)
        return stack.p["w"].sum(1)

    def validate(self, stack, batch, noise):
        self.validated.append(batch)
        return {"nelbo": stack.p["w"].sum(1)}


def run(data, epochs=3):
    network = Watched()
    members = [
        progress(network, {}, seed, rows=(int(data.offsets[2 * w]), int(data.offsets[2 * w + 1])), epochs=epochs)
        for seed, w in enumerate((0, 1, 0))
    ]
    train(network, members, data, N_TRAIN, N_VAL, Schedule(8))
    return network


def test_a_partner_is_a_control_of_the_same_context_and_part_of_the_same_world():
    data = cells()
    network = run(data)
    for batches, part in ((network.trained, 0), (network.validated, 1)):
        for batch in batches:
            own, partner = batch.counts[:, 0].long(), batch.partner[:, 0].long()
            assert bool(batch.has_partner.all())
            assert bool((data.control[partner] == 1).all())
            assert torch.equal(data.contexts[partner], data.contexts[own])
            block = torch.bucketize(torch.stack([own, partner]), torch.as_tensor(data.offsets[1:]), right=True)
            assert torch.equal(block[0], block[1])
            assert bool((block % 2 == part).all())


def test_partners_are_drawn_anew_at_every_step():
    network = run(cells())
    seen = {}
    for batch in network.trained:
        for cell, partner in zip(batch.counts[0, 0].tolist(), batch.partner[0, 0].tolist(), strict=True):
            seen.setdefault(cell, []).append(partner)
    # three epochs, at least two controls per context: a quarter of the cells or fewer keep one partner by chance
    assert np.mean([len(set(partners)) > 1 for partners in seen.values()]) > 0.5


def test_a_context_without_controls_has_no_partner():
    data = cells(without=1)
    for batch in run(data).trained:
        assert torch.equal(batch.has_partner[0], batch.contexts[0] != 1)
        assert bool(batch.has_partner[1].all())
        assert bool(torch.isfinite(batch.partner).all())


def test_every_control_is_equally_likely():
    data = cells()
    partners = Partners(data, [0], N_TRAIN)
    draws = 20_000
    rows, present = partners.draw(torch.full((1, draws), 2), streams(0))
    controls = [i for i in range(N_TRAIN) if data.control[i] and data.contexts[i] == 2]
    count = np.array([(rows == i).sum() for i in controls])
    assert bool(present.all())
    assert count.sum() == draws
    expected = draws / len(controls)
    # a multinomial count has standard error below its root
    assert np.abs(count - expected).max() < 4.5 * np.sqrt(expected)
