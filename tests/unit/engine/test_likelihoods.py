import numpy as np
import pytest
import torch
from scipy import special, stats

from scident.engine.likelihoods import (
    START,
    constant_part,
    digamma_less_log,
    log1p,
    log_gamma,
    log_means,
    log_shares,
    negative_log_likelihood,
    stirling,
    training_loss,
    varying_part,
)


def inputs(log_dispersion=0.0, members=2, genes=7, cells=5, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(members, genes, cells, generator=g, dtype=torch.float64)
    library = torch.full((members, 1, cells), 60.0, dtype=torch.float64)
    counts = torch.poisson(log_means(logits, library.log()).exp(), generator=g)
    spread = torch.randn(members, genes, 1, generator=g, dtype=torch.float64) + log_dispersion
    return [v.to(dtype) for v in (counts, logits, library.log(), spread)]


def gradients(loss, values):
    counts, logits, log_library, r = values
    leaves = [logits.clone().requires_grad_(), r.clone().requires_grad_()]
    weights = torch.linspace(0.5, 2, counts.shape[0] * counts.shape[2], dtype=counts.dtype).view(counts.shape[0], -1)
    return torch.autograd.grad((weights * loss(counts, leaves[0], log_library, leaves[1])).sum(), leaves)


def test_log_means_sum_to_the_library():
    _, logits, log_library, _ = inputs()
    torch.testing.assert_close(log_means(logits, log_library).exp().sum(1), log_library.exp()[:, 0])


@pytest.mark.parametrize("log_dispersion", [-3.0, 0.0, 3.0])
def test_negative_log_likelihood_is_scipys_negative_binomial(log_dispersion):
    counts, logits, log_library, r = inputs(log_dispersion)
    mean, t = log_means(logits, log_library).exp().numpy(), r.exp().numpy()
    # scipy: successes n = t, success probability t / (t + m)
    expected = -stats.nbinom.logpmf(counts.numpy(), t, t / (t + mean)).sum(1)
    np.testing.assert_allclose(negative_log_likelihood(counts, logits, log_library, r), expected, rtol=1e-12)


def test_negative_log_likelihood_tends_to_poisson():
    counts, logits, log_library, r = inputs()
    mean = log_means(logits, log_library).exp()
    poisson = -stats.poisson.logpmf(counts.numpy(), mean.numpy()).sum(1)
    found = negative_log_likelihood(counts, logits, log_library, torch.full_like(r, 20.0))
    # the difference is of the order of m² / t = 60² e^-20
    np.testing.assert_allclose(found, poisson, atol=1e-4)


def test_negative_log_likelihood_keeps_its_digits_in_single_precision():
    exact = negative_log_likelihood(*inputs(10.0))
    single = negative_log_likelihood(*inputs(10.0, dtype=torch.float32))
    assert single.dtype == torch.float32
    # the inputs themselves carry 1e-7; lgamma(e^10) in single precision would be wrong by 0.02 a gene
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("log_dispersion", [-6.0, 0.0, 6.0])
def test_training_loss_has_the_gradient_of_the_density(log_dispersion):
    values = inputs(log_dispersion)
    # Stirling's series is cut where it is right to 1e-9
    for mine, autograd in zip(
        gradients(training_loss, values), gradients(negative_log_likelihood, values), strict=True
    ):
        torch.testing.assert_close(mine, autograd, rtol=1e-7, atol=1e-7)


def test_training_loss_has_the_gradient_of_the_density_in_single_precision():
    exact = gradients(negative_log_likelihood, inputs(9.0))
    single = gradients(training_loss, inputs(9.0, dtype=torch.float32))
    # at t = e^9 the dispersion's gradient is about 1e-3: written as digamma(x + t) - digamma(t) it would be noise
    for mine, autograd in zip(single, exact, strict=True):
        torch.testing.assert_close(mine.double(), autograd, rtol=0, atol=2e-5)


@pytest.mark.parametrize("x", [1e-6, 0.1, 1.0, 5.0, 30.0, 400.0, 1e5])
def test_digamma_less_log_is_scipys(x):
    found = digamma_less_log(torch.tensor([x], dtype=torch.float64)).item()
    np.testing.assert_allclose(found + np.log(x + START), special.digamma(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("x", [1e-6, 1e-3, 0.1, 1.0, 2.0, 5.5, 40.0, 1e4, 1e9])
def test_log_gamma_is_scipys(x):
    found = log_gamma(torch.tensor([x], dtype=torch.float64))
    np.testing.assert_allclose(found, special.gammaln([x]), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("s", [6.0, 7.0, 30.0, 1e4])
def test_stirlings_series_is_what_the_closed_form_leaves_of_scipys(s):
    expected = special.gammaln(s) - ((s - 0.5) * np.log(s) - s + 0.5 * np.log(2 * np.pi))
    assert stirling(torch.tensor(s, dtype=torch.float64)).item() == pytest.approx(expected, abs=1e-9)


def test_log1p_in_a_graph_is_pytorchs(monkeypatch):
    x = torch.cat([torch.logspace(-30, 30, 400), -torch.logspace(-30, -0.01, 400)])
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(log1p(x).double(), x.double().log1p(), rtol=2e-7, atol=0)


def test_log_shares_are_the_same_in_a_graph(monkeypatch):
    logits = 30 * inputs(dtype=torch.float32)[1]
    eager = log_shares(logits)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(log_shares(logits), eager, rtol=0, atol=1e-5)  # 100 x 2^-24


@pytest.mark.parametrize("log_dispersion", [-3.0, 0.0, 10.0])
def test_the_parts_make_the_density(log_dispersion):
    """The varying part tells means apart as scipy's density does, and the constant part does not see them."""
    counts, logits, log_library, r = inputs(log_dispersion)
    for o in (logits, torch.flip(logits, [1])):
        mean, t = log_means(o, log_library).exp().numpy(), r.exp().numpy()
        density = stats.nbinom.logpmf(counts.numpy(), t, t / (t + mean)).sum(1)
        parts = varying_part(counts, o, log_library, r) + constant_part(counts, r)
        # Stirling's series is cut where it is right to 1e-9
        np.testing.assert_allclose(parts, density, rtol=0, atol=1e-8)


def test_a_cell_without_counts_costs_nothing():
    from scident.engine.batches import Cells

    data = Cells([np.zeros((1, 3), np.float32)], [np.zeros(1, int)], torch.device("cpu"), torch.float64)
    batch = data.gather(torch.zeros(1, 1, dtype=torch.int64))
    r = torch.zeros(1, 3, 1, dtype=torch.float64)
    logits = torch.zeros(1, 3, 1, dtype=torch.float64)
    # probability of no count at mean 1e-8 is 1 - 1e-8
    assert float(negative_log_likelihood(batch.counts, logits, batch.log_library, r)) == pytest.approx(0, abs=1e-7)
    assert torch.isfinite(training_loss(batch.counts, logits, batch.log_library, r)).all()
