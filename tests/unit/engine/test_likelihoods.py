import numpy as np
import pytest
import torch
from scipy import special, stats

from scident.engine.likelihoods import (
    START,
    constant_part,
    constant_part_in_single,
    digamma_less_log,
    log,
    log_gamma,
    log_means,
    log_shares,
    negative_log_likelihood,
    stirling,
    training_loss,
    varying_part,
    varying_part_of_logits,
)


def inputs(log_dispersion=0.0, members=2, genes=7, cells=5, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(members, genes, cells, generator=g, dtype=torch.float64)
    library = torch.full((members, 1, cells), 60.0, dtype=torch.float64)
    counts = torch.poisson(log_means(logits, library.log()).exp(), generator=g)
    spread = torch.randn(members, genes, 1, generator=g, dtype=torch.float64) + log_dispersion
    return [v.to(dtype) for v in (counts, logits, library.log(), spread)]


def full(counts, logits, log_library, r):
    return negative_log_likelihood(counts, log_means(logits, log_library), r)


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
    np.testing.assert_allclose(full(counts, logits, log_library, r), expected, rtol=1e-12)


def test_negative_log_likelihood_tends_to_poisson():
    counts, logits, log_library, r = inputs()
    mean = log_means(logits, log_library)
    poisson = -stats.poisson.logpmf(counts.numpy(), mean.exp().numpy()).sum(1)
    # the difference is of the order of m² / t = 60² e^-20
    np.testing.assert_allclose(negative_log_likelihood(counts, mean, torch.full_like(r, 20.0)), poisson, atol=1e-4)


def test_negative_log_likelihood_keeps_its_digits_in_single_precision():
    exact = full(*inputs(10.0))
    single = full(*inputs(10.0, dtype=torch.float32))
    assert single.dtype == torch.float32
    # the inputs themselves carry 1e-7; lgamma(e^10) in single precision would be wrong by 0.02 a gene
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("log_dispersion", [-6.0, 0.0, 6.0])
def test_training_loss_has_the_gradient_of_the_density(log_dispersion):
    values = inputs(log_dispersion)
    # Stirling's series is cut where it is right to 1e-9
    for mine, autograd in zip(gradients(training_loss, values), gradients(full, values), strict=True):
        torch.testing.assert_close(mine, autograd, rtol=1e-7, atol=1e-7)


def test_training_loss_has_the_gradient_of_the_density_in_single_precision():
    exact = gradients(full, inputs(9.0))
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


@pytest.mark.parametrize("log_dispersion", [-6.0, 0.0, 6.0, 12.0])
def test_the_constant_part_in_single_precision_is_the_one_in_double(log_dispersion):
    x = torch.tensor([0, 1, 2, 3, 7, 30, 200, 5_000, 1_000_000], dtype=torch.float64).view(1, -1, 1)
    r = torch.full_like(x, log_dispersion)
    each = torch.cat([constant_part(x[:, [i]], r[:, [i]]) for i in range(x.shape[1])])
    formula = torch.cat([constant_part_in_single(x[:, [i]], r[:, [i]]) for i in range(x.shape[1])])
    torch.testing.assert_close(formula, each, rtol=1e-10, atol=1e-8)
    single = torch.cat([constant_part_in_single(x[:, [i]].float(), r[:, [i]].float()) for i in range(x.shape[1])])
    # rounding of r alone moves x r by 12 x 2^-24
    torch.testing.assert_close(single.double(), each, rtol=2e-6, atol=4e-6)


def test_genes_without_counts_add_nothing_in_single_precision():
    """Nor may their rounding errors add up: most genes of a cell have no counts."""
    r = torch.linspace(-6, 12, 8000).view(1, -1, 1)
    assert constant_part_in_single(torch.zeros(1, 8000, 1), r).abs().item() < 1e-3


@pytest.mark.parametrize("s", [6.0, 7.0, 30.0, 1e4])
def test_stirlings_series_is_what_the_closed_form_leaves_of_scipys(s):
    expected = special.gammaln(s) - ((s - 0.5) * np.log(s) - s + 0.5 * np.log(2 * np.pi))
    assert stirling(torch.tensor(s, dtype=torch.float64)).item() == pytest.approx(expected, abs=1e-9)


def test_log_in_a_graph_is_pytorchs(monkeypatch):
    x = torch.cat([torch.logspace(-30, 30, 400), 1 + torch.linspace(-1e-3, 1e-3, 401)])
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(log(x).double(), x.double().log(), rtol=2e-7, atol=0)


def test_log_shares_are_the_same_in_a_graph(monkeypatch):
    logits = 30 * inputs(dtype=torch.float32)[1]
    eager = log_shares(logits)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(log_shares(logits), eager, rtol=0, atol=1e-5)  # 100 x 2^-24


def test_the_varying_part_does_not_need_double_precision():
    """At t = e^10 and 40 counts a gene: 100 genes, so the error of a cell is that of numbers of a few hundred."""
    counts, logits, log_library, r = inputs(10.0, genes=100)
    exact = varying_part(counts, log_means(logits, log_library + 4), r)
    single = varying_part(*(v.float() for v in (counts, log_means(logits, log_library + 4), r)))
    torch.testing.assert_close(single.double(), exact, rtol=3e-7, atol=1e-4)


@pytest.mark.parametrize("log_dispersion", [-3.0, 0.0, 10.0])
def test_the_varying_part_of_logits_is_the_varying_part(log_dispersion):
    counts, logits, log_library, r = inputs(log_dispersion)
    expected = varying_part(counts, log_means(logits, log_library), r)
    torch.testing.assert_close(varying_part_of_logits(counts, logits, log_library, r), expected, rtol=1e-12, atol=1e-9)
    single = varying_part_of_logits(*(v.float() for v in (counts, logits, log_library, r)))
    torch.testing.assert_close(single.double(), expected, rtol=1e-6, atol=1e-4)


def test_the_parts_do_not_see_each_others_arguments():
    counts, logits, log_library, r = inputs()
    mean, other = (log_means(o, log_library) for o in (logits, torch.flip(logits, [1])))
    gap = [negative_log_likelihood(counts, m, r) + varying_part(counts, m, r) for m in (mean, other)]
    torch.testing.assert_close(gap[0], gap[1], rtol=0, atol=1e-9)
    torch.testing.assert_close(gap[0], -constant_part(counts, r), rtol=0, atol=1e-9)


def test_a_cell_without_counts_costs_nothing():
    from scident.engine.batches import Cells

    data = Cells([np.zeros((1, 3), np.float32)], [np.zeros(1, int)], torch.device("cpu"), torch.float64)
    batch = data.gather(torch.zeros(1, 1, dtype=torch.int64))
    r = torch.zeros(1, 3, 1, dtype=torch.float64)
    logits = torch.zeros(1, 3, 1, dtype=torch.float64)
    # probability of no count at mean 1e-8 is 1 - 1e-8
    assert float(full(batch.counts, logits, batch.log_library, r)) == pytest.approx(0, abs=1e-7)
    assert torch.isfinite(training_loss(batch.counts, logits, batch.log_library, r)).all()
