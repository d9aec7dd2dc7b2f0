"""The compiled path gives what the eager one gives, whoever stops when."""

import logging

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from _tiny import CPU, N_LATENTS, progress, world
from _unchecked import unchecked
from scident.engine import compiling, trainer
from scident.engine.batches import Cells
from scident.engine.trainer import Schedule, train
from scident.models import svae_plus

GENES, PERTURBATIONS, BATCH = 20, 6, 48
HYPER = {"warmup_epochs": 2.0, "beta": 1.0, "scale": 160.0, "penalty": 10.0, "n_train": 160.0}
EPOCHS = (1, 2, 4, 4)
"""Of four members; the stack shrinks twice."""

# PyTorch's own tracing of an autograd.Function
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@pytest.fixture
def compiler():
    """Skip without a compiler."""
    if not compiling.works():
        pytest.skip("no C++ compiler works here")
    with unchecked():  # checks cannot be part of a graph
        yield


def trained(compiled, dtype, epochs=EPOCHS):
    """Train members on whole batches and a shorter one, in training and in validation."""
    place = world(0, genes=GENES, perturbations=PERTURBATIONS, cells=50)
    blocks = (place.train, place.val)
    data = Cells(
        [b.X for b in blocks],
        [b.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64) for b in blocks],
        CPU,
        dtype,
    )
    network = svae_plus.SVAEPlusNetwork(svae_plus.Params(width=16), GENES, N_LATENTS, PERTURBATIONS)
    rows = (0, place.train.n_obs)
    members = [
        progress(network, HYPER, seed, dtype, rows, epochs=n, learning_rate=5e-3) for seed, n in enumerate(epochs)
    ]
    train(network, members, data, place.train.n_obs, place.val.n_obs, Schedule(BATCH, compiled=compiled))
    return members


def assert_equal(some, others, tolerance):
    for one, other in zip(some, others, strict=True):
        mine, theirs = one.state.parameters | one.state.buffers, other.state.parameters | other.state.buffers
        for name in mine:
            torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=tolerance, msg=name)
        scores = [[value for *_, value in member.history] for member in (one, other)]
        np.testing.assert_allclose(scores[0], scores[1], rtol=tolerance)


@pytest.mark.slow
def test_compiled_members_equal_eager_ones(compiler):
    # fused kernels sum in another order; double precision keeps the 20 steps within 1e-12 here
    assert_equal(trained(False, torch.float64), trained(True, torch.float64), 1e-9)


@pytest.mark.slow
def test_compiled_members_equal_eager_ones_in_single_precision(compiler):
    once, again = (trained(True, torch.float32, epochs=(2, 2)) for _ in range(2))
    assert_equal(once, again, 0)
    # ten steps of 5e-3; a bias before a normalisation feels nothing but rounding
    assert_equal(trained(False, torch.float32, epochs=(2, 2)), once, 2e-3)


def test_members_that_stop_cost_one_more_graph(monkeypatch):
    torch.compiler.reset()  # what varied in another test is remembered
    graphs = CompileCounter()
    monkeypatch.setattr(trainer, "compiled", lambda f: torch.compile(f, backend=graphs, isolate_recompiles=True))
    with unchecked():
        trained(True, torch.float64)
    # loss and validation, each for four members and for any number of fewer, and none for the short batches
    assert graphs.frame_count == 4


def test_without_a_compiler_functions_stay_as_they_are(monkeypatch, caplog):
    def missing(function):
        raise RuntimeError("no g++\nand a long story")

    monkeypatch.setattr(torch, "compile", missing)
    compiling.works.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "scident.engine.compiling"):
            assert compiling.compiled(abs) is abs
            assert compiling.compiled(abs) is abs
    finally:
        compiling.works.cache_clear()
    (line,) = caplog.messages
    assert line.endswith("no g++")
