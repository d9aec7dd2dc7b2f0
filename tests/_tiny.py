"""A world small enough to train on in a blink, and the members engine's inputs made from it."""

from dataclasses import dataclass

import anndata as ad
import numpy as np
import torch

from _cells import mapped
from scident import io, registry
from scident.engine.batches import Batch, Cells
from scident.engine.stack import MemberState, Stack, initial_state
from scident.engine.streams import Streams
from scident.engine.trainer import Progress
from scident.models.base import Member
from scident.simulators import sparse_shift
from scident.stages.data import separate
from scident.types import Request

torch.set_num_threads(1)  # the tensors are tiny and other test workers want the cores

CPU = torch.device("cpu")
N_LATENTS = 3


@dataclass(frozen=True)
class World:
    """Training and validation cells of one world, all its cells, and the truth."""

    train: ad.AnnData
    val: ad.AnnData
    cells: ad.AnnData
    truth: ad.AnnData


def world(seed=0, *, perturbations=6, cells=40, genes=20, heldout=1, latents=N_LATENTS, depth=400):
    """Return a corrected sparse shift; the last perturbations are held out, a fifth of the others' cells validate."""
    size = {"n_perturbations": perturbations, "cells_per_perturbation": cells, "n_genes": genes, "n_latents": latents}
    params = sparse_shift.Params(variant="corrected", n_hidden=max(10, latents), depth=depth, **size)
    observed, truth = separate(sparse_shift.simulate(params, np.random.default_rng(seed)))
    codes = observed.obs["perturbation"].cat.codes.to_numpy()
    seen = codes < perturbations - heldout
    fifth = observed.obs.groupby("perturbation", observed=False).cumcount().to_numpy() % 5 == 0
    return World(io.subset(observed, seen & ~fifth), io.subset(observed, seen & fifth), observed, truth)


@dataclass(frozen=True)
class Pairs:
    """Training and validation cells of a screen with controls in several contexts, and what is to be predicted."""

    train: ad.AnnData
    val: ad.AnnData
    request: Request


def pairs(seed=0):
    """Return counts of three perturbations and controls in three contexts; training never sees one of the pairs."""
    cells = mapped(labels=("control", "a", "b", "c"), per_label=60, genes=20, contexts=("x", "y", "z"), seed=seed)
    held = ((cells.obs["context"] == "z") & (cells.obs["perturbation"] == "c")).to_numpy()
    turn = np.arange(cells.n_obs) // 4 % 5
    train, val, seen, scored = (
        io.subset(cells, rows)
        for rows in (~held & (turn > 1), ~held & (turn == 1), ~held & (turn > 0), held | (turn == 0))
    )
    labels = scored.obs.loc[~scored.obs["is_control"], ["perturbation", "context"]].astype(str)
    return Pairs(train, val, Request(seen, scored, labels.drop_duplicates().reset_index(drop=True)))


def params_of(use, **wanted):
    """Return a model's Params: two epochs where it trains, and what is asked for where it knows it."""
    known = registry.load("models", use).Params
    small = {"epochs": 2, "width": 8} | wanted
    if known.model_fields.get("epochs") is not None and known.model_fields["epochs"].default == 0:
        small.pop("epochs")
    return known(**{name: value for name, value in small.items() if name in known.model_fields})


def member(place, params, seed=0, *, name="r0.g0.s0", latents=N_LATENTS, key=""):
    return Member(name, place.train, place.val, params, latents, np.random.SeedSequence(seed), key)


def streams(*seeds, dtype=torch.float64):
    found = Streams([np.random.SeedSequence(s) for s in seeds], CPU, dtype)
    found.start(1, 0)
    return found


def stack_of(network, hyper, seeds=(0,), dtype=torch.float64):
    """Return first states of some members, stacked; `hyper` is one mapping for all or one each."""
    each = [hyper] * len(seeds) if isinstance(hyper, dict) else hyper
    states = [
        initial_state(network.parameters(), network.buffers(), h, np.random.SeedSequence(s), dtype)
        for h, s in zip(each, seeds, strict=True)
    ]
    return Stack(states, CPU, dtype)


def batch_of(cells, rows, members=1, dtype=torch.float64):
    """Return the same cells for every member."""
    data = Cells([cells.X], [cells.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)], CPU, dtype)
    return data.gather(torch.as_tensor(rows)[None].expand(members, -1))


def progress(network, hyper, seed=0, dtype=torch.float64, rows=(0, 0), **more):
    """Return a member at its start; ten epochs and no early stop unless `more` says otherwise."""
    sequence = np.random.SeedSequence(seed)
    state = initial_state(network.parameters(), network.buffers(), hyper, sequence, dtype)
    return Progress(state, sequence, rows, **({"learning_rate": 1e-3, "epochs": 10, "patience": 1000} | more))


def same_state(a: MemberState, b: MemberState):
    """Say whether two members are equal to the bit."""
    mine, other = a.parameters | a.buffers, b.parameters | b.buffers
    return mine.keys() == other.keys() and all(torch.equal(mine[n], other[n]) for n in mine)


def counts_batch(counts, labels=None):
    """Return a batch of given counts [members, genes, cells]."""
    x = torch.as_tensor(counts, dtype=torch.float64)
    codes = torch.zeros(x.shape[0], x.shape[2], dtype=torch.int64) if labels is None else torch.as_tensor(labels)
    return Batch(x, x.sum(1, keepdim=True).log(), codes, torch.zeros_like(codes))
