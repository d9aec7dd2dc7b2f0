import numpy as np
import pytest
from pydantic import ValidationError
from scipy import sparse

from scident import io
from scident.simulators import sparse_shift
from scident.simulators.sparse_shift import Params, expected, simulate
from scident.stages.data import separate

SMALL = {"n_perturbations": 12, "cells_per_perturbation": 15, "n_latents": 4, "n_hidden": 6, "n_genes": 20}


def world_of(seed=0, **params):
    return simulate(Params(**SMALL | params), np.random.default_rng(seed))


def test_params_defaults_are_the_released_scripts():
    params = Params()
    assert (params.axis, params.with_replacement, params.total) == ("cells", True, 1e6)
    assert (params.n_perturbations, params.cells_per_perturbation, params.n_latents, params.n_genes) == (
        100,
        250,
        15,
        100,
    )


def test_params_of_the_corrected_variant_change_axis_targets_and_depth():
    params = Params(variant="corrected")
    assert (params.axis, params.with_replacement, params.total) == ("genes", False, 4000.0)


def test_params_named_explicitly_override_the_variant():
    params = Params(variant="corrected", replace=True, softmax_axis="cells", depth=5.0)
    assert (params.axis, params.with_replacement, params.total) == ("cells", True, 5.0)


def test_params_refuse_widths_that_fall():
    with pytest.raises(ValidationError, match="n_latents ≤ n_hidden ≤ n_genes"):
        Params(n_latents=50)


@pytest.mark.parametrize("variant", ["released", "corrected"])
def test_simulate_labels_every_cell_and_keeps_the_truth_in_category_order(variant):
    adata = world_of(variant=variant, cells_per_perturbation=200)
    assert list(adata.obs["perturbation"].cat.categories) == [f"p{k:02d}" for k in range(12)]
    assert adata.obs["perturbation"].value_counts().eq(200).all()
    assert not adata.obs["is_control"].any()
    codes = adata.obs["perturbation"].cat.codes.to_numpy()
    means = np.stack([adata.obsm["z_true"][codes == k].mean(axis=0) for k in range(12)])
    # standard error of a mean of 200 unit-variance latents is 0.07; 48 of them stay within 4.2 of it
    np.testing.assert_allclose(means, adata.uns["shift"], atol=0.3)


def test_simulate_shuffles_the_cells():
    codes = world_of().obs["perturbation"].cat.codes.to_numpy()
    assert (np.diff(codes) < 0).any()


def test_simulate_without_replacement_hits_one_to_three_latents():
    hits = (world_of(n_perturbations=200, replace=False).uns["shift"] != 0).sum(axis=1)
    assert set(hits) == {1, 2, 3}


def test_simulate_is_dense_where_counts_are_many_and_sparse_where_they_are_few():
    assert isinstance(world_of(variant="corrected").X, np.ndarray)
    few = world_of(variant="corrected", depth=2.0)
    assert sparse.issparse(few.X)
    assert few.X.format == "csr"


def test_simulate_is_the_same_for_the_same_seed_and_another_for_another():
    np.testing.assert_array_equal(world_of(3).X, world_of(3).X)
    assert (world_of(3).X != world_of(4).X).any()


@pytest.mark.parametrize("axis", ["cells", "genes"])
def test_expected_totals_equal_the_depth(axis):
    adata = world_of(softmax_axis=axis, depth=1000.0)
    mean, _ = expected(adata.uns["world"], adata.obsm["z_true"])
    np.testing.assert_allclose(mean.sum(axis=0 if axis == "cells" else 1), 1000.0)


@pytest.mark.parametrize("axis", ["cells", "genes"])
def test_expected_jacobian_equals_central_differences(axis):
    adata = world_of(softmax_axis=axis, depth=100.0)
    world, z = adata.uns["world"], adata.obsm["z_true"][:5]
    _, jacobian = expected(world, z)
    assert jacobian.shape == (5, 20, 4)
    for j, step in enumerate(1e-6 * np.eye(4)):
        slope = (expected(world, z + step)[0] - expected(world, z - step)[0]) / 2e-6
        # truncation error of the exponential, about step² · third derivative, and rounding 1e-16 · 100 / 1e-6
        np.testing.assert_allclose(jacobian[:, :, j], slope, rtol=1e-5, atol=1e-6)


def test_expected_is_the_same_in_chunks(monkeypatch):
    adata = world_of()
    whole = expected(adata.uns["world"], adata.obsm["z_true"])
    monkeypatch.setattr(sparse_shift, "CHUNK", 7)
    pieces = expected(adata.uns["world"], adata.obsm["z_true"])
    # matrix products of other sizes may sum in another order
    np.testing.assert_allclose(pieces[0], whole[0], rtol=1e-10)
    np.testing.assert_allclose(pieces[1], whole[1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("axis", ["cells", "genes"])
def test_world_survives_a_file(axis, tmp_path):
    adata = world_of(softmax_axis=axis)
    _, truth = separate(adata)
    io.write_h5ad(truth, tmp_path / "truth.h5ad")
    again = io.read_truth(tmp_path / "truth.h5ad")
    assert again.uns["world"]["simulator"] == "sparse_shift"
    for found, wanted in zip(
        expected(again.uns["world"], again.obsm["z_true"]),
        expected(adata.uns["world"], adata.obsm["z_true"]),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)
