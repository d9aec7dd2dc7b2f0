"""A factorised world small enough to train on in a blink, and FCR's networks on it."""

from dataclasses import replace

import anndata as ad
import numpy as np
import torch

from _tiny import CPU, World, stack_of, streams
from scident import io, registry
from scident.engine.batches import Batch
from scident.engine.stack import Stack
from scident.models._batched import cells_of
from scident.models._design import Design, block_names, design_of
from scident.models._fcr_network import FCRNetwork
from scident.simulators import factorised
from scident.stages.data import separate

DOUBLE = torch.float64
ROWS = list(range(40))
SIZES = 1, 2, 1
N_LATENTS = sum(SIZES)


def place(seed=0, *, cells=20, contexts=3, treatments=2, genes=12, observation="normal"):
    """Return a world of 3 contexts, a control and 2 treatments; a fifth of its cells validate."""
    size = dict(zip(("d_x", "d_tx", "d_t"), SIZES, strict=True)) | {"n_latents": N_LATENTS, "n_genes": genes}
    params = factorised.Params(
        preset="hard",
        n_contexts=contexts,
        n_treatments=treatments,
        cells_per_condition=cells,
        observation=observation,
        **size,
    )
    observed, truth = separate(factorised.simulate(params, np.random.default_rng(seed)))
    fifth = observed.obs.groupby(["perturbation", "context"], observed=True).cumcount().to_numpy() % 5 == 0
    return World(io.subset(observed, ~fifth), io.subset(observed, fifth), observed, truth)


def design(cells: ad.AnnData, sizes=SIZES) -> Design:
    return design_of(cells, sum(sizes), block_names(sizes, sum(sizes)))


def network(world, use="fcr", **params) -> FCRNetwork:
    known = registry.load("models", use).Params(**({"width": 8, "epochs": 8} | params))
    return FCRNetwork(known, design(world.train))


def opened(world, net, members=1, seed=0) -> Stack:
    """Return members with random numbers everywhere, so that nothing holds at the start alone."""
    stack = stack_of(net, {"ramp_epochs": 0.0}, range(seed, seed + members))
    for name, value in net.prepare(world.train).items():
        stack.b[name] = torch.as_tensor(value, dtype=DOUBLE).expand(members, *value.shape).clone()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in stack.p.values():
            value.add_(0.2 * torch.randn(value.shape, generator=generator, dtype=DOUBLE))
    return stack


def batch(world, net, members=1, rows=ROWS) -> Batch:
    """Return the same training cells for every member; if wanted, partners are the control cells among them in turn."""
    expression = net.resident(world.train, net.prepare(world.train))
    data = cells_of([world.train], [expression], net.design, CPU, DOUBLE)
    found = data.gather(torch.as_tensor(rows)[None].expand(members, -1))
    if not net.wants_partner:
        return found
    partner, has = torch.zeros_like(found.counts), torch.zeros_like(found.labels, dtype=torch.bool)
    for k in range(len(found)):
        same = (found.contexts[0] == found.contexts[0, k]) & (found.labels[0] == net.design.control)
        if same.any() and k % 7:  # some have none
            partner[..., k], has[:, k] = found.counts[..., int(same.nonzero()[k % int(same.sum())])], True
    return replace(found, partner=partner, has_partner=has)


def noise_of(net, seeds=(0,), training=True):
    return net.noise(streams(*seeds), len(ROWS), training)
