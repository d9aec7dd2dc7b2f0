import numpy as np
import pytest

from scident.models._map import Process, map_latents
from scident.models._mixture import Mixture
from scident.simulators import factorised, sparse_shift

WIDE = Mixture.of_unit_sd(np.zeros((1, 1)))


def exponential(world, z):
    """One gene, one latent: mean = exp(a + b z)."""
    mean = np.exp(world["a"] + world["b"] * z)
    return mean, (world["b"] * mean)[:, :, None]


def linear(world, z):
    """As many genes as latents: mean = b z."""
    return world["b"] * z, np.broadcast_to(world["b"] * np.eye(z.shape[1]), (len(z), z.shape[1], z.shape[1]))


def simulated(kind="poisson", seed=0):
    """Return expression, the true process, the truth and the sizes of some cells."""
    rng = np.random.default_rng(seed)
    if kind == "poisson":
        params = sparse_shift.Params(variant="corrected", n_perturbations=20, cells_per_perturbation=30)
        adata = sparse_shift.simulate(params, rng)
        process = Process(adata.uns["world"], sparse_shift.expected, Mixture.of_unit_sd(adata.uns["shift"]))
    else:
        adata = factorised.simulate(factorised.Params(observation=kind, cells_per_condition=15), rng)
        world = adata.uns["world"]
        prior = Mixture(world["prior_mean"].reshape(-1, 10), world["prior_sd"].reshape(-1, 10))
        process = Process(world, factorised.expected, prior)
    return adata.X, process, adata.obsm["z_true"], adata.obsm.get("size_true")


def objective(x, process, z, size):
    return process.posterior(x.astype(float), z, size)[0]


def test_map_latents_solves_the_stationary_equation():
    counts = np.array([[0.0], [3.0], [40.0]])
    z = map_latents(counts, Process({"a": 1.0, "b": 0.5}, exponential, WIDE), np.zeros((3, 1)))
    # derivative of -x·(a + b z) + exp(a + b z) + z²/2
    # a step is kept if the objective falls, which rounding (1e-16) hides where the gradient is below about 1e-7
    np.testing.assert_allclose(0.5 * (np.exp(1 + 0.5 * z) - counts) + z, 0, atol=1e-6)


def test_map_latents_of_overdispersed_counts_solve_the_stationary_equation():
    counts, size = np.array([[0.0], [3.0], [6.0]]), np.array([[1.0], [2.0], [0.5]])
    world = {"a": 1.0, "b": 0.5, "noise": "negative_binomial", "theta": 4.0}
    z = map_latents(counts, Process(world, exponential, WIDE), np.zeros((3, 1)), size)
    mean = size * np.exp(1 + 0.5 * z)
    # derivative of (x + θ) log(m + θ) - x log m + z²/2
    np.testing.assert_allclose(0.5 * mean * ((counts + 4) / (mean + 4) - counts / mean) + z, 0, atol=1e-6)


def test_map_latents_of_gaussian_noise_are_the_posterior_mean():
    x, prior = np.array([[1.0, -2.0]]), Mixture(np.array([[3.0, 0.0]]), np.array([[0.5, 2.0]]))
    process = Process({"b": 2.0, "noise": "normal", "noise_sd": 0.4}, linear, prior)
    precision, pull = prior.sd**-2 + 4 / 0.16, prior.mean / prior.sd**2 + 2 * x / 0.16
    np.testing.assert_allclose(map_latents(x, process, np.zeros((1, 2))), pull / precision)


def test_map_latents_follow_the_prior_where_counts_say_nothing():
    prior = Mixture.of_unit_sd(np.array([[-4.0], [6.0]]))
    process = Process({"a": 0.0, "b": 0.0}, exponential, prior)
    z = map_latents(np.array([[1.0], [1.0]]), process, np.array([[-3.0], [5.0]]))
    # two unit Gaussians ten apart: the mixture's modes are at their centres but for exp(-50)
    np.testing.assert_allclose(z, [[-4.0], [6.0]], atol=1e-9)


@pytest.mark.parametrize("kind", ["poisson", "counts"])
def test_map_latents_do_not_depend_on_chunks(kind, monkeypatch):
    x, process, z, size = simulated(kind)
    whole = map_latents(x, process, z, size)
    monkeypatch.setattr("scident.models._map.CHUNK", 64)
    # sums in another order may flip a comparison at a kink of the decoder, by less than the steps' own precision
    assert np.median(np.abs(map_latents(x, process, z, size) - whole)) < 1e-9


@pytest.mark.parametrize("kind", ["poisson", "normal", "counts"])
def test_map_latents_lower_the_objective_of_every_cell(kind):
    x, process, z, size = simulated(kind)
    found = map_latents(x, process, z, size)
    assert (objective(x, process, found, size) < objective(x, process, z, size)).all()


@pytest.mark.parametrize("kind", ["poisson", "normal", "counts"])
@pytest.mark.parametrize("size", [0.01, 0.1])
def test_map_latents_leave_little_to_gain_in_any_direction(kind, size):
    """The decoder has kinks, where gradients jump, so the optimum is probed by steps and not by its gradient."""
    x, process, z, sizes = simulated(kind)
    found = map_latents(x, process, z, sizes)
    best = objective(x, process, found, sizes)
    rng = np.random.default_rng(1)
    for _ in range(10):
        step = rng.standard_normal(found.shape)
        step *= size / np.linalg.norm(step, axis=1, keepdims=True)
        gain = best - objective(x, process, found + step, sizes)
        # nats; from the truth to the optimum a cell gains 5 to 7 in the median
        assert np.quantile(gain, 0.99) < 0.02
        assert np.median(gain) < 0


@pytest.mark.parametrize("kind", ["poisson", "normal", "counts"])
def test_the_gradient_of_the_posterior_equals_central_differences(kind):
    x, process, z, size = simulated(kind)
    x, z, size = x[:20].astype(float), z[:20], None if size is None else size[:20]
    _, gradient, curvature = process.posterior(x, z, size)
    assert (np.linalg.eigvalsh(curvature) > 0).all()
    for j, step in enumerate(1e-6 * np.eye(z.shape[1])):
        slope = (objective(x, process, z + step, size) - objective(x, process, z - step, size)) / 2e-6
        # rounding of an objective of order 10,000 nats: 1e-12 / 1e-6
        np.testing.assert_allclose(gradient[:, j], slope, rtol=1e-4, atol=1e-3)
