import numpy as np
import pytest

from scident.models._map import map_latents, negative_log_posterior
from scident.simulators import sparse_shift

CENTRE = np.zeros((1, 1))


def exponential(world, z):
    """One gene, one latent: mean = exp(a + b z)."""
    mean = np.exp(world["a"] + world["b"] * z)
    return mean, (world["b"] * mean)[:, :, None]


def simulated(seed=0):
    params = sparse_shift.Params(variant="corrected", n_perturbations=20, cells_per_perturbation=30)
    return sparse_shift.simulate(params, np.random.default_rng(seed))


def objective(adata, z, centres):
    mean, _ = sparse_shift.expected(adata.uns["world"], z)
    return negative_log_posterior(adata.X.astype(float), mean, centres, z)[0]


def test_map_latents_solves_the_stationary_equation():
    counts = np.array([[0.0], [3.0], [40.0]])
    z = map_latents(counts, {"a": 1.0, "b": 0.5}, exponential, CENTRE, np.zeros((3, 1)))
    # derivative of -x·(a + b z) + exp(a + b z) + z²/2
    # a step is kept if the objective falls, which rounding (1e-16) hides where the gradient is below about 1e-7
    np.testing.assert_allclose(0.5 * (np.exp(1 + 0.5 * z) - counts) + z, 0, atol=1e-6)


def test_map_latents_follow_the_prior_where_counts_say_nothing():
    centres = np.array([[-4.0], [6.0]])
    z = map_latents(np.array([[1.0], [1.0]]), {"a": 0.0, "b": 0.0}, exponential, centres, np.array([[-3.0], [5.0]]))
    # two unit Gaussians ten apart: the mixture's modes are at their centres but for exp(-50)
    np.testing.assert_allclose(z, [[-4.0], [6.0]], atol=1e-9)


def test_map_latents_do_not_depend_on_chunks(monkeypatch):
    adata = simulated()
    args = (adata.X, adata.uns["world"], sparse_shift.expected, adata.uns["shift"], adata.obsm["z_true"])
    whole = map_latents(*args)
    monkeypatch.setattr("scident.models._map.CHUNK", 64)
    # sums in another order may flip a comparison at a kink of the decoder, by less than the steps' own precision
    assert np.median(np.abs(map_latents(*args) - whole)) < 1e-9


def test_map_latents_lower_the_objective_of_every_cell():
    adata = simulated()
    z = adata.obsm["z_true"]
    found = map_latents(adata.X, adata.uns["world"], sparse_shift.expected, adata.uns["shift"], z)
    assert (objective(adata, found, adata.uns["shift"]) < objective(adata, z, adata.uns["shift"])).all()


@pytest.mark.parametrize("size", [0.01, 0.1])
def test_map_latents_leave_little_to_gain_in_any_direction(size):
    """The decoder has kinks, where gradients jump, so the optimum is probed by steps and not by its gradient."""
    adata = simulated()
    centres = adata.uns["shift"]
    found = map_latents(adata.X, adata.uns["world"], sparse_shift.expected, centres, adata.obsm["z_true"])
    best = objective(adata, found, centres)
    rng = np.random.default_rng(1)
    for _ in range(10):
        step = rng.standard_normal(found.shape)
        step *= size / np.linalg.norm(step, axis=1, keepdims=True)
        gain = best - objective(adata, found + step, centres)
        # nats; from the truth to the optimum a cell gains 7 in the median
        assert np.quantile(gain, 0.99) < 0.02
        assert np.median(gain) < 0


def test_negative_log_posterior_equals_the_formula():
    z, centres = np.array([[1.0, 2.0]]), np.array([[0.0, 0.0], [1.0, 1.0]])
    mean, counts = np.array([[2.0]]), np.array([[3.0]])
    value, pull = negative_log_posterior(counts, mean, centres, z)
    weights = np.exp([-2.5, -0.5])
    # TINY = 1e-12 moves log(2) by 5e-13
    np.testing.assert_allclose(value, 2 - 3 * np.log(2) - np.log(weights.sum()), rtol=1e-10)
    np.testing.assert_allclose(pull, [[1, 2] - weights[1] / weights.sum() * np.ones(2)])
