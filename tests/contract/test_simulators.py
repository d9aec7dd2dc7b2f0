"""Every simulator keeps its word."""

from typing import Any

import numpy as np
import pytest

from scident import contracts, io, registry
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


def test_expected_has_a_jacobian_of_its_mean(simulated):
    _, module, adata = simulated
    z = np.asarray(adata.obsm["z_true"])[:4]
    mean, jacobian = module.expected(adata.uns["world"], z)
    assert mean.shape == (4, adata.n_vars)
    assert (mean >= 0).all()
    assert jacobian.shape == (4, adata.n_vars, z.shape[1])
    step = 1e-6
    for j, direction in enumerate(step * np.eye(z.shape[1])):
        low, high = (module.expected(adata.uns["world"], z + sign * direction)[0] for sign in (-1, 1))
        # central differences: truncation of order step², rounding of order 1e-16 · mean / step
        np.testing.assert_allclose(jacobian[:, :, j], (high - low) / (2 * step), rtol=1e-4, atol=1e-7 * mean.max())


def test_expected_is_the_mean_of_the_counts(simulated):
    _, module, adata = simulated
    z = np.asarray(adata.obsm["z_true"])[:2000]
    mean, _ = module.expected(adata.uns["world"], z)
    counts = adata.X[:2000].toarray() if not isinstance(adata.X, np.ndarray) else adata.X[:2000]
    # the sum of Poisson counts is Poisson: 5 standard deviations
    assert abs(counts.sum() - mean.sum()) < 5 * np.sqrt(mean.sum())


@pytest.mark.parametrize("name", NAMES)
def test_simulate_depends_on_the_seed_alone(name):
    def values(adata) -> Any:
        return adata.X if isinstance(adata.X, np.ndarray) else adata.X.toarray()

    first, again, other = (values(world(name, seed)[1]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
