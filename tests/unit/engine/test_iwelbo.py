"""A linear Gaussian world has an exact posterior, so its bounds are known."""

import math

import pytest
import torch

from scident.engine.iwelbo import log_mean_weight, log_weight

CELLS, LATENTS, NOISE = 200, 3, 0.7
G = torch.Generator()
# orthogonal columns: the posterior of z factorises over latents
LOADINGS = torch.linalg.qr(torch.randn(8, LATENTS, generator=G.manual_seed(1), dtype=torch.float64))[0] * torch.tensor(
    [0.5, 1.0, 2.0], dtype=torch.float64
)
PRIOR = torch.randn(1, LATENTS, CELLS, generator=G.manual_seed(2), dtype=torch.float64)


def iwelbo(mean, variance, log_likelihood, draw, samples):
    """The bound under a draw of (noise, prior mean)."""

    def weight():
        noise, prior_mean = draw()
        return log_weight(mean, variance, noise, prior_mean, log_likelihood)

    return log_mean_weight(weight, samples)


@pytest.fixture
def world():
    """Observations x = A z + noise with z ~ N(prior mean, I), their log density and the exact posterior."""
    g = torch.Generator().manual_seed(3)
    z = PRIOR + torch.randn(PRIOR.shape, generator=g, dtype=torch.float64)
    x = LOADINGS @ z + NOISE * torch.randn(1, 8, CELLS, generator=g, dtype=torch.float64)
    covariance = LOADINGS @ LOADINGS.T + NOISE**2 * torch.eye(8, dtype=torch.float64)
    centred = (x - LOADINGS @ PRIOR)[0].T
    exact = torch.distributions.MultivariateNormal(torch.zeros(8, dtype=torch.float64), covariance).log_prob(centred)
    variance = 1 / (1 + (LOADINGS**2).sum(0) / NOISE**2)
    mean = variance[:, None] * (LOADINGS.T @ x / NOISE**2 + PRIOR)
    return x, exact, mean, variance[:, None].expand_as(mean)


def log_likelihood(x):
    def of(z):
        return torch.distributions.Normal(LOADINGS @ z, NOISE).log_prob(x).sum(1)

    return of


def draw(seed):
    g = torch.Generator().manual_seed(seed)
    return lambda: (torch.randn(PRIOR.shape, generator=g, dtype=torch.float64), PRIOR)


@pytest.mark.parametrize("samples", [1, 2, 50])
@pytest.mark.parametrize("seed", [0, 1])
def test_under_the_exact_posterior_it_is_the_log_density_for_every_draw(world, samples, seed):
    x, exact, mean, variance = world
    bound = iwelbo(mean, variance, log_likelihood(x), draw(seed), samples)
    torch.testing.assert_close(bound[0], exact, rtol=1e-12, atol=1e-12)


def test_one_sample_is_the_elbo_in_expectation(world):
    """Under a wrong posterior: E[log w] = E[log p(x|z)] - KL, both with a closed form."""
    x, exact, mean, variance = world
    wrong = mean + 0.3, variance * 1.5
    residual = ((x - LOADINGS @ wrong[0]) ** 2).sum(1) + ((LOADINGS**2).sum(0)[:, None] * wrong[1]).sum(1)
    expected = -residual / (2 * NOISE**2) - 8 * math.log(NOISE * math.sqrt(2 * math.pi))
    elbo = expected - 0.5 * (wrong[1] + (wrong[0] - PRIOR) ** 2 - 1 - wrong[1].log()).sum(1)
    draws = torch.cat([iwelbo(*wrong, log_likelihood(x), draw(seed), 1) for seed in range(2000)])
    standard_error = draws.std(0) / math.sqrt(len(draws))
    # 200 cells: the largest of 200 normal deviates stays below 4.5
    assert bool(((draws.mean(0) - elbo[0]).abs() < 4.5 * standard_error).all())
    assert bool((elbo[0] < exact).all())


def test_a_wrong_posterior_gives_a_bound_that_rises_with_samples(world):
    x, exact, mean, variance = world
    means, errors = [], []
    for samples in (1, 4, 16, 64):
        draws = torch.cat([iwelbo(mean + 0.5, variance * 2, log_likelihood(x), draw(s), samples) for s in range(100)])
        means.append(float(draws.mean()))
        errors.append(float(draws.mean(1).std()) / 10)
    gaps = [(b - a) / math.hypot(u, v) for a, b, u, v in zip(means, means[1:], errors, errors[1:], strict=False)]
    assert min(gaps) > 4
    assert means[-1] < float(exact.mean()) + 4 * errors[-1]


def test_a_mask_drawn_anew_for_each_sample_is_integrated_over():
    """Prior mean 0 or 4 by a fair coin, posterior flat over both: the bound tends to the log of the mixture."""
    g = torch.Generator().manual_seed(0)
    x = torch.full((1, 1, 1), 3.0, dtype=torch.float64)

    def draw():
        on = torch.rand(1, generator=g, dtype=torch.float64) < 0.5
        return torch.randn(1, 1, 1, generator=g, dtype=torch.float64), 4.0 * on

    def of(z):
        return torch.distributions.Normal(z, 1.0).log_prob(x).sum(1)

    samples = 20_000
    found = float(iwelbo(x, torch.full_like(x, 4.0), of, draw, samples))
    parts = torch.distributions.Normal(torch.tensor([0.0, 4.0]), math.sqrt(2)).log_prob(torch.tensor(3.0))
    expected = float(torch.logsumexp(parts, 0)) - math.log(2)
    # weights have a coefficient of variation below 2 here: the relative error of their mean is at most 2 / sqrt(S)
    assert abs(found - expected) < 4 * 2 / math.sqrt(samples)
