import numpy as np
from scipy.stats import norm

from scident.models._mixture import Mixture

MIXTURE = Mixture(np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]]), np.array([[0.5, 2.0], [1.0, 1.0], [3.0, 0.2]]))


def points(cells=50):
    return 2 * np.random.default_rng(0).standard_normal((cells, 2))


def log_density(z):
    components = norm.logpdf(z[:, None], MIXTURE.mean, MIXTURE.sd).sum(axis=2)
    return np.logaddexp.reduce(components, axis=1)


def test_loss_equals_the_density_up_to_a_constant():
    z = points()
    total = MIXTURE.loss(z)[0] + log_density(z)
    np.testing.assert_allclose(total, total[0], atol=1e-10)


def test_gradient_equals_central_differences():
    z = points()
    _, gradient, _ = MIXTURE.loss(z)
    for j, step in enumerate(1e-6 * np.eye(2)):
        slope = -(log_density(z + step) - log_density(z - step)) / 2e-6
        np.testing.assert_allclose(gradient[:, j], slope, rtol=1e-6, atol=1e-7)


def test_curvature_is_that_of_the_component_that_has_all_the_responsibility():
    far = Mixture(np.array([[0.0], [100.0]]), np.array([[0.5], [2.0]]))
    _, _, curvature = far.loss(np.array([[0.1], [99.0]]))
    np.testing.assert_allclose(curvature, [[4.0], [0.25]], rtol=1e-12)


def test_curvature_is_never_below_the_true_one():
    z, step = points(), 1e-4
    _, _, bound = MIXTURE.loss(z)
    for j, direction in enumerate(step * np.eye(2)):
        middle, sides = log_density(z), log_density(z + direction) + log_density(z - direction)
        # second differences: rounding 1e-15 / 1e-8
        assert (bound[:, j] >= (2 * middle - sides) / step**2 - 1e-5).all()


def test_of_unit_sd_is_exact_where_all_components_agree():
    z, mean = points(), MIXTURE.mean
    value, gradient, curvature = Mixture.of_unit_sd(mean).loss(z)
    logs = z @ mean.T - 0.5 * (mean**2).sum(axis=1)
    top = logs.max(axis=1, keepdims=True)
    weights = np.exp(logs - top)
    total = weights.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(value, 0.5 * (z**2).sum(axis=1) - top[:, 0] - np.log(total[:, 0]))
    np.testing.assert_array_equal(gradient, z - (weights / total) @ mean)
    np.testing.assert_array_equal(curvature, 1)
