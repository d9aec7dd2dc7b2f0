"""Whitened components against scikit-learn's, and the density of expression against a multivariate normal's."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from _tiny import world
from scident.expression import log_normalised
from scident.models import _whitening

COMPONENTS = 4


def normal_cells(n=300, genes=9, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, COMPONENTS)) @ (2 * rng.standard_normal((COMPONENTS, genes)))
    cells = ad.AnnData(
        x + 0.3 * rng.standard_normal((n, genes)) + 5, obs=pd.DataFrame(index=[f"c{i}" for i in range(n)])
    )
    cells.uns["observation"] = "normal"
    return cells


def test_components_are_scikit_learns_up_to_sign(monkeypatch):
    monkeypatch.setattr(_whitening, "CHUNK", 77)
    cells = world().train
    y = log_normalised(cells)
    found, pca = _whitening.fit(cells, COMPONENTS), PCA(COMPONENTS, whiten=True).fit(y)
    signs = np.sign((found[_whitening.COMPONENTS] * pca.components_).sum(1))
    np.testing.assert_allclose(found[_whitening.COMPONENTS], signs[:, None] * pca.components_, atol=1e-9)
    scale = np.sqrt((len(y) - 1) / len(y))  # they divide by n - 1
    np.testing.assert_allclose(found[_whitening.SD][:, 0], scale * np.sqrt(pca.explained_variance_), rtol=1e-9)
    np.testing.assert_allclose(found[_whitening.REST], scale**2 * pca.noise_variance_, rtol=1e-9)
    scores, left = _whitening.scores(cells, found)
    np.testing.assert_allclose(scores.std(0), 1, rtol=1e-9)
    back = _whitening.expression_of(scores, found)
    np.testing.assert_allclose(((y - back) ** 2).sum(1), left, rtol=1e-6)
    np.testing.assert_allclose(back, pca.inverse_transform(pca.transform(y)), atol=1e-9)


def test_normal_scores_are_a_normal_density_of_expression():
    """With standard normal scores the density is that of probabilistic principal components."""
    cells = normal_cells()
    found = _whitening.fit(cells, COMPONENTS)
    scores, left = _whitening.scores(cells, found)
    density = stats.norm.logpdf(scores).sum(1) + _whitening.log_volume(left, found, cells.n_vars)
    components, sd, rest = found[_whitening.COMPONENTS], found[_whitening.SD], found[_whitening.REST]
    covariance = (components.T * (sd[:, 0] ** 2 - rest)) @ components + rest * np.eye(cells.n_vars)
    expected = stats.multivariate_normal(found[_whitening.MEAN][:, 0], covariance).logpdf(cells.X)
    np.testing.assert_allclose(density, expected, rtol=1e-9)


@pytest.mark.parametrize("genes", [COMPONENTS, 9])
def test_as_many_components_as_genes_leave_nothing_over(genes):
    cells = normal_cells(genes=genes)
    found = _whitening.fit(cells, genes)
    scores, left = _whitening.scores(cells, found)
    np.testing.assert_allclose(_whitening.expression_of(scores, found), cells.X, atol=1e-6)
    np.testing.assert_allclose(left, 0, atol=1e-6)
    assert np.isfinite(_whitening.log_volume(left, found, genes)).all()
