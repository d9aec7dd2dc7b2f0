"""Baselines and controls in closed form."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from _tiny import N_LATENTS, params_of, world
from scident import io
from scident.errors import NotApplicable, ScidentError
from scident.expression import log_normalised
from scident.models import (
    factor_analysis,
    fastica,
    label_only,
    nmf,
    oracle_noisy,
    oracle_truth,
    pca,
    random_encoder,
    random_projection,
    rotated_truth,
)
from scident.models.base import Model


@pytest.fixture(scope="module")
def place():
    return world()


def fitted(module, name, place, seed=0, latents=N_LATENTS):
    model = getattr(module, name)(params_of(module.__name__.rsplit(".", 1)[-1]), latents)
    model.fit(place.train, place.val, np.random.default_rng(seed))
    return model


def knowing(model, place):
    model.truth = place.truth
    return model


def test_log_normalised_counts_per_ten_thousand():
    adata = ad.AnnData(np.array([[1.0, 3.0], [0.0, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(log_normalised(adata), [[np.log(2501), np.log(7501)], [0, 0]])


def test_pca_is_the_singular_value_decomposition(place):
    model = fitted(pca, "PCA", place)
    x = log_normalised(place.train)
    _, _, directions = np.linalg.svd(x - x.mean(0), full_matrices=False)
    expected = (log_normalised(place.cells) - x.mean(0)) @ directions[:N_LATENTS].T
    z = model.embed(place.cells)
    np.testing.assert_allclose(z * np.sign((z * expected).sum(0)), expected, atol=1e-8)


def test_pca_gives_no_more_components_than_there_are_genes(place):
    assert fitted(pca, "PCA", place, latents=50).embed(place.cells).shape == (place.cells.n_obs, 20)


def test_fastica_whitens_its_training_cells(place):
    z = fitted(fastica, "FastICA", place).embed(place.train)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(N_LATENTS), atol=1e-6)


def test_fastica_says_so_if_it_does_not_converge(place, caplog):
    model = fastica.FastICA(fastica.Params(max_iterations=1, tolerance=1e-12), N_LATENTS)
    with caplog.at_level(logging.WARNING, "scident.models.fastica"):
        model.fit(place.train, place.val, np.random.default_rng(0))
    assert "did not converge in 1 iterations" in caplog.text
    assert np.isfinite(model.embed(place.cells)).all()


def test_factor_analysis_gives_the_posterior_means_of_its_own_model(place):
    """E(z|x) = Wᵀ (WWᵀ + Ψ)⁻¹ (x - centre), with W and Ψ at a stationary point of the likelihood."""
    from sklearn.decomposition import FactorAnalysis

    x = log_normalised(place.train)
    reference = FactorAnalysis(N_LATENTS, noise_variance_init=x.var(0)).fit(x)
    loadings, noise = reference.components_.T, reference.noise_variance_
    covariance = loadings @ loadings.T + np.diag(noise)
    expected = (log_normalised(place.cells) - x.mean(0)) @ np.linalg.solve(covariance, loadings)
    z = fitted(factor_analysis, "FactorAnalysis", place).embed(place.cells)
    np.testing.assert_allclose(z, expected, atol=1e-8)
    # the noise takes what the loadings leave of each gene's variance
    np.testing.assert_allclose((loadings**2).sum(1) + noise, x.var(0), rtol=1e-2)


def test_factor_analysis_takes_a_loud_gene_for_noise():
    """Unlike PCA, which makes it the first component."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, 1))
    x = z @ rng.standard_normal((1, 20)) + 0.5 * rng.standard_normal((2000, 20))
    x[:, 0] = 20 * rng.standard_normal(2000)
    model = factor_analysis.FactorAnalysis(factor_analysis.Params(), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_analysis, "log_normalised", lambda cells: cells.X)
        model.fit(ad.AnnData(x), ad.AnnData(x), rng)
    found = (x - model.state["centre"]) @ model.state["weights"]
    assert abs(np.corrcoef(found[:, 0], z[:, 0])[0, 1]) > 0.98


def test_nmf_is_the_non_negative_least_squares_fit_of_each_cell(place):
    model = fitted(nmf, "NMF", place)
    parts, x, z = model.state["parts"], log_normalised(place.cells), model.embed(place.cells)
    assert (parts >= 0).all()
    assert (z >= 0).all()
    assert (z == 0).any()
    slope = (z @ parts - x) @ parts.T  # of half the squared error: 0 where z is positive, nowhere negative
    np.testing.assert_allclose(slope[z > 0], 0, atol=1e-8)
    assert (slope > -1e-8).all()


def test_nmf_rebuilds_its_training_cells_as_well_as_scikit_learn(place):
    from sklearn.decomposition import NMF

    x = log_normalised(place.train)
    model = fitted(nmf, "NMF", place)
    mine = ((model.embed(place.train) @ model.state["parts"] - x) ** 2).sum()
    theirs = NMF(N_LATENTS, max_iter=1000).fit(x).reconstruction_err_ ** 2
    # other starts end in other optima
    assert mine < 1.05 * theirs


def test_nmf_depends_on_its_start(place):
    one, same, other = (fitted(nmf, "NMF", place, seed).embed(place.cells) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("module", "name"), [(nmf, "NMF"), (factor_analysis, "FactorAnalysis")])
def test_a_decomposition_that_does_not_converge_says_so(place, caplog, module, name):
    model = getattr(module, name)(module.Params(max_iterations=2), N_LATENTS)
    model.fit(place.train, place.val, np.random.default_rng(0))
    assert f"{name} did not converge in 2 iterations" in caplog.text
    assert np.isfinite(model.embed(place.cells)).all()


def test_random_projection_is_a_gaussian_map_of_centred_expression(place):
    model = fitted(random_projection, "RandomProjection", place, latents=500)
    weights = model.state["weights"]
    assert weights.shape == (20, 500)
    # entries of variance 1/20: relative standard error sqrt(2 / 10,000)
    assert weights.var() * 20 == pytest.approx(1, abs=4 * np.sqrt(2 / weights.size))
    np.testing.assert_allclose(model.embed(place.train).mean(0), 0, atol=1e-9)


def test_random_encoder_does_not_look_at_the_cells(place):
    model = fitted(random_encoder, "RandomEncoder", place)
    blank = place.cells.copy()
    blank.X = np.ones(blank.shape, dtype=np.float32)
    z = model.embed(place.cells)
    np.testing.assert_array_equal(model.embed(blank), z)
    # mean of 720 standard normal numbers
    assert abs(z.mean()) < 4 / np.sqrt(z.size)


def test_label_only_is_the_pca_of_condition_means(place):
    z = fitted(label_only, "LabelOnly", place).embed(place.cells)
    codes = place.cells.obs["perturbation"].cat.codes.to_numpy()
    assert all(len(np.unique(z[codes == k], axis=0)) == 1 for k in range(6))
    x, train = log_normalised(place.train), place.train.obs["perturbation"].cat.codes.to_numpy()
    means = np.stack([x[train == k].mean(0) for k in range(5)])
    points = np.stack([z[codes == k][0] for k in range(5)])
    # distances between conditions within the span of the first three components
    u, s, _ = np.linalg.svd(means - means.mean(0), full_matrices=False)
    expected = u[:, :N_LATENTS] * s[:N_LATENTS]
    np.testing.assert_allclose(points @ points.T, expected @ expected.T, atol=1e-8)


def test_label_only_puts_an_unseen_label_at_the_mean_of_the_training_rows(place):
    z = fitted(label_only, "LabelOnly", place).embed(place.cells)
    codes = place.cells.obs["perturbation"].cat.codes.to_numpy()
    rows = np.stack([z[codes == k][0] for k in range(5)])
    np.testing.assert_allclose(z[codes == 5], np.broadcast_to(rows.mean(0), (40, N_LATENTS)), atol=1e-12)


def test_label_only_fills_up_with_zeros_if_there_are_few_conditions(place):
    z = fitted(label_only, "LabelOnly", place, latents=8).embed(place.cells)
    # five centred points span four dimensions
    np.testing.assert_allclose(z[:, 4:], 0, atol=1e-9)


def test_oracle_truth_is_the_truth(place):
    model = knowing(fitted(oracle_truth, "OracleTruth", place), place)
    np.testing.assert_array_equal(model.embed(place.cells), place.truth.obsm["z_true"])
    targets = model.targets()
    np.testing.assert_array_equal(targets.on, place.truth.uns["shift"] != 0)
    np.testing.assert_array_equal(targets.score, np.abs(place.truth.uns["shift"]))
    assert targets.source == "truth"


def test_rotated_truth_keeps_all_distances_and_mixes_every_latent(place):
    z = knowing(fitted(rotated_truth, "RotatedTruth", place), place).embed(place.cells)
    true = place.truth.obsm["z_true"]
    q, *_ = np.linalg.lstsq(true, z, rcond=None)
    np.testing.assert_allclose(true @ q, z, atol=1e-9)
    np.testing.assert_allclose(q @ q.T, np.eye(N_LATENTS), atol=1e-9)
    assert (np.abs(q) < 1 - 1e-6).all()


def test_rotated_truth_of_one_latent_is_the_truth(place):
    model = fitted(rotated_truth, "RotatedTruth", place)
    model.truth = place.truth.copy()
    model.truth.obsm["z_true"] = place.truth.obsm["z_true"][:, :1]
    np.testing.assert_array_equal(model.embed(place.cells), place.truth.obsm["z_true"][:, :1])


def test_oracle_noisy_is_near_the_truth_and_not_at_it(place):
    z = knowing(fitted(oracle_noisy, "OracleNoisy", place), place).embed(place.cells)
    true = place.truth.obsm["z_true"]
    error = np.sqrt(((z - true) ** 2).mean())
    assert 0.01 < error < 1


def test_oracle_noisy_uses_the_shifts_of_trained_perturbations_alone(place):
    model = fitted(oracle_noisy, "OracleNoisy", place)
    np.testing.assert_array_equal(model.state["trained"], np.arange(5))
    once = knowing(model, place).embed(place.cells)
    model.truth = place.truth.copy()
    model.truth.uns = dict(place.truth.uns)
    model.truth.uns["shift"] = place.truth.uns["shift"].copy()
    model.truth.uns["shift"][5] += 100
    np.testing.assert_array_equal(model.embed(place.cells), once)


def test_oracle_noisy_does_not_apply_without_the_world(place):
    model = fitted(oracle_noisy, "OracleNoisy", place)
    model.truth = place.truth.copy()
    model.truth.uns = {k: v for k, v in place.truth.uns.items() if k != "world"}
    with pytest.raises(NotApplicable, match="no_world"):
        model.embed(place.cells)


def test_a_model_that_declares_a_likelihood_must_implement_it(place):
    class Careless(Model):
        def fit(self, train, val, rng):
            """Nothing."""

        def embed(self, cells):
            return np.zeros((cells.n_obs, 1))

    with pytest.raises(ScidentError, match="does not implement"):
        Careless(pca.Params(), 1).likelihood(place.cells, np.random.default_rng(0))


def test_unseen_labels_keep_their_codes():
    place = world()
    assert place.train.obs["perturbation"].cat.categories.equals(place.cells.obs["perturbation"].cat.categories)
    few = io.subset(place.cells, place.cells.obs["perturbation"].eq("p3").to_numpy())
    assert isinstance(few.obs["perturbation"].dtype, pd.CategoricalDtype)
    assert set(few.obs["perturbation"].cat.codes) == {3}
