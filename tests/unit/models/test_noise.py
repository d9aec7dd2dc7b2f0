import numpy as np
import pytest
from scipy.stats import nbinom, norm, poisson

from scident.errors import ScidentError
from scident.models._noise import NegativeBinomial, Normal, Poisson, noise_of

X = np.array([[0.0, 3.0, 50.0], [1.0, 0.0, 7.0]])
MEAN = np.array([[0.5, 4.0, 40.0], [2.0, 0.1, 7.0]])
OTHER = MEAN * np.array([2.0, 0.3, 1.1])


def negative_binomial(x, mean):
    return nbinom.logpmf(x, 10, 10 / (10 + mean))


CASES = [
    pytest.param(Poisson(), poisson.logpmf, poisson.var, id="poisson"),
    pytest.param(Normal(0.3), lambda x, m: norm.logpdf(x, m, 0.3), lambda m: 0.09 + 0 * m, id="normal"),
    pytest.param(NegativeBinomial(10.0), negative_binomial, lambda m: nbinom.var(10, 10 / (10 + m)), id="nb"),
]


@pytest.mark.parametrize(("noise", "log_density", "variance"), CASES)
def test_loss_equals_the_likelihood_up_to_a_constant(noise, log_density, variance):
    difference = noise.loss(X, MEAN) - noise.loss(X, OTHER)
    wanted = (log_density(X, OTHER) - log_density(X, MEAN)).sum(axis=1)
    np.testing.assert_allclose(difference, wanted, rtol=1e-9)


@pytest.mark.parametrize(("noise", "log_density", "variance"), CASES)
def test_slope_equals_central_differences(noise, log_density, variance):
    step = 1e-6
    wanted = -(log_density(X, MEAN + step) - log_density(X, MEAN - step)) / (2 * step)
    np.testing.assert_allclose(noise.slope(X, MEAN), wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("noise", "log_density", "variance"), CASES)
def test_variance_is_that_of_the_law(noise, log_density, variance):
    np.testing.assert_allclose(noise.variance(MEAN), variance(MEAN), rtol=1e-9)


def test_noise_of_a_world_is_poisson_unless_it_says_otherwise():
    assert isinstance(noise_of({}), Poisson)
    assert noise_of({"noise": "normal", "noise_sd": 0.2}) == Normal(0.2)
    assert noise_of({"noise": "negative_binomial", "theta": 7}) == NegativeBinomial(7.0)
    with pytest.raises(ScidentError, match="found 'laplace'"):
        noise_of({"noise": "laplace"})
