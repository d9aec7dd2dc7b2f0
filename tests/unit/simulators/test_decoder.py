import numpy as np
import pytest

from scident.simulators import _decoder


def test_draw_weights_gives_orthogonal_rows_of_the_stated_length():
    (weight,) = _decoder.draw_weights([4, 9], np.random.default_rng(0))
    length = 2 / (1 + 0.2**2) * 2 / (4 + 9)
    np.testing.assert_allclose(weight @ weight.T, length * np.eye(4), atol=1e-12)


def test_logits_of_one_unit_follow_the_leaky_slope():
    weights = [np.array([[1.0]]), np.array([[2.0]])]
    np.testing.assert_allclose(_decoder.logits(np.array([[3.0], [-3.0]]), weights), [[6.0], [-1.2]])


@pytest.mark.parametrize("cells", [1, 3])
def test_jacobian_equals_central_differences(cells):
    rng = np.random.default_rng(1)
    weights = _decoder.draw_weights([3, 5, 5, 7], rng)
    z = rng.standard_normal((cells, 3))
    out, tangent = _decoder.logits_and_jacobian(z, weights)
    np.testing.assert_allclose(out, _decoder.logits(z, weights), rtol=1e-12)
    for j, step in enumerate(1e-6 * np.eye(3)):
        slope = (_decoder.logits(z + step, weights) - _decoder.logits(z - step, weights)) / 2e-6
        # the network is piecewise linear: differences are exact up to rounding away from a kink
        np.testing.assert_allclose(tangent[:, j], slope, atol=1e-8)


def test_logits_and_jacobian_leaves_its_input_alone():
    z = np.array([[-1.0, 2.0, 0.5]])
    before = z.copy()
    _decoder.logits_and_jacobian(z, _decoder.draw_weights([3, 4, 5], np.random.default_rng(0)))
    np.testing.assert_array_equal(z, before)


def test_draw_clipped_keeps_singular_values_within_their_bounds():
    weight = _decoder.draw_clipped(10, (0.7, 1.4), np.random.default_rng(0))
    spectrum = np.linalg.svd(weight, compute_uv=False)
    # ten singular values of a normal matrix reach from near 0 to about 6: both bounds are met
    np.testing.assert_allclose(spectrum[[0, -1]], [1.4, 0.7], rtol=1e-12)


def test_another_slope_is_used_by_value_and_jacobian_alike():
    weights = [np.array([[1.0]]), np.array([[2.0]])]
    out, tangent = _decoder.logits_and_jacobian(np.array([[3.0], [-3.0]]), weights, 0.5)
    np.testing.assert_allclose(out, [[6.0], [-3.0]])
    np.testing.assert_allclose(tangent[:, 0], [[2.0], [1.0]])
    np.testing.assert_allclose(_decoder.logits(np.array([[3.0], [-3.0]]), weights, 0.5), out)
