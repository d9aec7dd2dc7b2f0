"""Every simulator keeps its word."""

from typing import Any

import numpy as np
import pytest

from scident import contracts, io, registry
from scident.models._noise import noise_of
from scident.simulators.base import Simulator
from scident.stages.data import separate

NAMES = registry.known("simulators")


def world(name, seed=0):
    module = registry.load("simulators", name)
    return module, module.simulate(module.Params(), np.random.default_rng(seed))


@pytest.fixture(scope="module", params=NAMES)
def simulated(request):
    return request.param, *world(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_file_has_the_form_of_its_kind(name):
    assert isinstance(registry.load("simulators", name), Simulator)


@pytest.mark.parametrize("name", NAMES)
def test_info_is_complete(name):
    info = registry.describe("simulators", name)
    assert info.label
    assert info.source
    assert registry.load("simulators", name).info == info


@pytest.mark.parametrize("name", NAMES)
def test_params_describe_every_field_and_refuse_others(name):
    params = registry.load("simulators", name).Params
    assert all(field.description for field in params.model_fields.values())
    assert params.model_config["extra"] == "forbid"
    assert params.model_config["frozen"]
    assert "n_latents" in params.model_fields


def test_simulate_gives_data_and_truth_that_keep_their_contracts(simulated, tmp_path):
    name, module, adata = simulated
    observed, truth = separate(adata)
    contracts.check_data(observed)
    assert truth is not None
    assert truth.uns["world"]["simulator"] == name
    assert truth.obsm["z_true"].shape[1] == module.Params().n_latents
    io.write_h5ad(observed, tmp_path / "data.h5ad")
    io.write_h5ad(truth, tmp_path / "truth.h5ad")
    io.read_data(tmp_path / "data.h5ad")
    io.read_truth(tmp_path / "truth.h5ad")


def test_truth_has_targets_or_the_blocks_its_info_promises(simulated):
    name, _, adata = simulated
    _, truth = separate(adata)
    assert ("blocks" in truth.uns) == registry.describe("simulators", name).gives_blocks
    if "blocks" in truth.uns:
        assert set(truth.uns["blocks"]) <= {"x", "tx", "t"}
    else:
        assert "targets" in truth.uns
    if "shift" not in truth.uns:
        shape = (*(len(adata.obs[column].cat.categories) for column in ("perturbation", "context")), -1)
        for table in ("prior_mean", "prior_sd"):
            assert truth.uns["world"][table].reshape(shape).shape[2] == truth.obsm["z_true"].shape[1]


def test_expected_has_a_jacobian_of_its_mean(simulated):
    _, module, adata = simulated
    z = np.asarray(adata.obsm["z_true"])[:4]
    mean, jacobian = module.expected(adata.uns["world"], z)
    assert mean.shape == (4, adata.n_vars)
    assert np.isfinite(mean).all()
    assert (mean >= 0).all() or contracts.observation(adata) == "normal"
    assert jacobian.shape == (4, adata.n_vars, z.shape[1])
    step = 1e-6
    for j, direction in enumerate(step * np.eye(z.shape[1])):
        low, high = (module.expected(adata.uns["world"], z + sign * direction)[0] for sign in (-1, 1))
        # central differences: truncation of order step², rounding of order 1e-16 · mean / step
        np.testing.assert_allclose(jacobian[:, :, j], (high - low) / (2 * step), rtol=1e-4, atol=1e-7 * mean.max())


def test_expression_scatters_around_its_expected_mean_as_its_noise_says(simulated):
    _, module, adata = simulated
    mean, _ = module.expected(adata.uns["world"], np.asarray(adata.obsm["z_true"])[:2000])
    if "size_true" in adata.obsm:
        mean = mean * adata.obsm["size_true"][:2000]
    x = adata.X[:2000].toarray() if not isinstance(adata.X, np.ndarray) else adata.X[:2000]
    variance = noise_of(adata.uns["world"]).variance(mean)
    # sums over 2,000 cells are nearly normal: 5 standard deviations
    assert abs(x.sum(dtype=np.float64) - mean.sum()) < 5 * np.sqrt(variance.sum())
    # squared standardised residuals have mean 1 and, for counts of about one and more, variance below 10
    squared = (x - mean) ** 2 / variance
    assert abs(squared.mean() - 1) < 5 * np.sqrt(10 / squared.size)


@pytest.mark.parametrize("name", NAMES)
def test_simulate_depends_on_the_seed_alone(name):
    def values(adata) -> Any:
        return adata.X if isinstance(adata.X, np.ndarray) else adata.X.toarray()

    first, again, other = (values(world(name, seed)[1]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
