import numpy as np
import pytest

from scident.simulators._ceiling import laplace_correlation


def test_of_a_linear_world_it_is_the_reliability_of_the_posterior_mean():
    rng = np.random.default_rng(0)
    cells, sd, noise = 40_000, np.array([0.5, 2.0]), 0.7
    condition = np.arange(cells) % 4
    centre = rng.normal(0, 5, (4, 2))[condition]
    z = centre + sd * rng.standard_normal((cells, 2))
    x = z + noise * rng.standard_normal((cells, 2))
    found = laplace_correlation(
        z,
        x,
        z,
        np.broadcast_to(np.eye(2), (cells, 2, 2)),
        np.full((cells, 2), noise**2),
        (centre, np.broadcast_to(sd, z.shape)),
        condition,
    )
    wanted = sd / np.sqrt(sd**2 + noise**2)
    # standard error of a correlation (1 - r²)/√n ≤ 0.0033; 4 of them
    np.testing.assert_allclose(found, wanted, atol=0.0132)


def test_conditions_count_alike_whatever_their_spread():
    """A condition of large spread would hide that another's latents drown in noise."""
    rng = np.random.default_rng(1)
    cells = 20_000
    condition = np.repeat([0, 1], cells // 2)
    sd = np.where(condition == 0, 100.0, 0.01)[:, None]
    z = sd * rng.standard_normal((cells, 1))
    x = z + rng.standard_normal((cells, 1))
    found = laplace_correlation(
        z, x, z, np.ones((cells, 1, 1)), np.ones((cells, 1)), (np.zeros((cells, 1)), sd), condition
    )
    # 1 and 0.01 on average; standard error 0.01/√2
    assert found[0] == pytest.approx(0.505, abs=0.03)
