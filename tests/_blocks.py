"""Latents in three blocks with known conditional moments."""

from types import SimpleNamespace

import torch

from scident.engine.batches import Batch
from scident.models._design import Design, block_names

SIZES = (2, 3, 2)
CONTEXTS, PERTURBATIONS, CELLS = 4, 5, 30


def design():
    return Design(9, sum(SIZES), PERTURBATIONS, tuple("abcd"), "normal", 0, block_names(SIZES, sum(SIZES)))


def labelled(members=2, seed=0, scales=True):
    """Latents whose means and deviations depend on x, on both, on t; and the codes of contexts and perturbations."""
    g = torch.Generator().manual_seed(seed)

    def table(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64)

    pair = torch.arange(CONTEXTS * PERTURBATIONS).repeat_interleave(CELLS)
    contexts, labels = pair // PERTURBATIONS, pair % PERTURBATIONS
    parts = []
    for size, rows in zip(SIZES, (contexts, pair, labels), strict=True):
        tables = table(2, members, CONTEXTS * PERTURBATIONS, size)
        sd = (0.5 * tables[1][:, rows]).exp() if scales else 1.0
        parts.append(2 * tables[0][:, rows] + sd * table(members, len(pair), size))
    z = torch.cat(parts, 2).transpose(1, 2)
    return z, contexts.expand(members, -1), labels.expand(members, -1)


def batch(z, contexts, labels):
    return Batch(z, z[:, :1], labels, contexts)


def declared_by(part):
    """Return a network that declares the parameters of one of its parts."""
    return SimpleNamespace(parameters=part.parameters, buffers=dict)
