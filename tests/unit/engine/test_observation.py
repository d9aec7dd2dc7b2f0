import numpy as np
import pytest
import torch
from scipy import stats

from scident.engine.batches import Batch
from scident.engine.observation import OBSERVATIONS, SMALLEST_LOG_SD
from scident.engine.stack import MemberState, Stack, initial_state

MEMBERS, GENES, CELLS = 2, 5, 4


def made(kind, seed=0):
    """Return an observation model, its stack, a batch and a decoder's output, in double precision."""
    g = torch.Generator().manual_seed(seed)
    model = OBSERVATIONS[kind]
    seeds = [np.random.SeedSequence(k) for k in range(MEMBERS)]
    states: list[MemberState] = [initial_state(model.parameters(GENES), {}, {}, s, torch.float64) for s in seeds]
    stack = Stack(states, torch.device("cpu"), torch.float64)
    with torch.no_grad():
        for value in stack.p.values():
            value.copy_(torch.randn(value.shape, generator=g, dtype=torch.float64))
    out = torch.randn(MEMBERS, GENES, CELLS, generator=g, dtype=torch.float64)
    x = torch.randn(MEMBERS, GENES, CELLS, generator=g, dtype=torch.float64)
    x = torch.poisson((x + 2).exp(), generator=g) if kind == "counts" else x
    library = x.sum(1, keepdim=True).clamp(min=1).log()
    codes = torch.zeros(MEMBERS, CELLS, dtype=torch.int64)
    return model, stack, Batch(x, library, codes, codes), out


def test_normal_is_scipys():
    model, stack, batch, out = made("normal")
    sd = stack.p["log_sd"].detach().exp()
    expected = stats.norm.logpdf(batch.counts, out, sd).sum(1)
    np.testing.assert_allclose(-model.loss(stack, batch, out).detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_varying_and_constant_parts_make_the_density(kind):
    model, stack, batch, out = made(kind)
    parts = model.varying(stack, batch, out) + model.constant(stack, batch)
    torch.testing.assert_close(parts, -model.loss(stack, batch, out), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_training_loss_has_the_slopes_of_the_density(kind):
    model, stack, batch, out = made(kind)
    out.requires_grad_()
    leaves = [out, *stack.p.values()]
    one, two = (torch.autograd.grad(f(stack, batch, out).sum(), leaves) for f in (model.training_loss, model.loss))
    for mine, density in zip(one, two, strict=True):
        torch.testing.assert_close(mine, density, rtol=1e-7, atol=1e-7)


def test_a_gene_that_never_varies_keeps_a_finite_density():
    model, stack, batch, _ = made("normal")
    with torch.no_grad():
        stack.p["log_sd"].fill_(SMALLEST_LOG_SD - 50)
    assert torch.isfinite(model.loss(stack, batch, batch.counts)).all()
