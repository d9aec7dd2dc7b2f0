"""Energy distance to controls: closed form, unbiased, within contexts, in components of the cells that stay."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from _cells import mapped
from scident import preparation
from scident.expression import log_normalised
from scident.params import Preparation
from scident.splits import _effects


def groups(**sizes):
    """Rows of groups named context_label, one behind the other."""
    ends = np.cumsum([0, *sizes.values()])
    keys = [tuple(name.split("_")) for name in sizes]
    return {key: np.arange(*pair) for key, pair in zip(keys, pairwise(ends), strict=True)}


@pytest.mark.parametrize(("shift", "expected"), [(0.5, 0.1396), (1.0, 0.5418), (2.0, 1.9443)])
def test_distances_are_those_of_shifted_normals(shift, expected):
    """Closed form for N(0, 1) and N(Δ, 1)."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        z = np.concatenate([rng.normal(shift, 1, (1000, 1)), rng.normal(0, 1, (1000, 1))])
        found.append(_effects.distances(z, groups(x_a=1000, x_=1000))["a"])
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / np.sqrt(20)


def test_a_perturbation_without_effect_has_distance_zero_on_average_however_few_its_cells():
    rng = np.random.default_rng(0)
    found = [_effects.distances(rng.normal(size=(35, 10)), groups(x_a=5, x_=30))["a"] for _ in range(300)]
    # a V-statistic would have a mean of E|X - X'|/5 = 0.87
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(300)


def test_cells_are_compared_with_controls_of_their_own_context():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(160, 3))
    z[80:] += 10.0
    sizes = {"x_a": 40, "x_": 40, "y_a": 40, "y_": 30, "z_a": 10}
    found = _effects.distances(z, groups(**sizes))
    assert abs(found["a"]) < 0.5
    far = {("x", "a"): groups(**sizes)["x", "a"], ("x", ""): groups(**sizes)["y", ""]}
    assert _effects.distances(z, far)["a"] > 5


def screen():
    adata = mapped(labels=("control", "a", "b", "c", "d"), per_label=60, genes=30)
    for gene, (name, factor) in enumerate({"a": 2.0, "b": 3.0, "c": 4.0}.items()):
        adata.X[(adata.obs["perturbation"] == name).to_numpy(), 4 * gene : 4 * gene + 4] *= factor
    return adata


@pytest.mark.parametrize(("components", "rounds"), [(3, 3), (29, 2)])
def test_the_components_are_those_of_cells_that_all_stay(monkeypatch, components, rounds):
    """With few components a perturbation left out looks weak, and another takes its place."""
    fitted = []

    class Spy(PCA):
        def fit(self, x):
            fitted.append(x)
            return super().fit(x)

    monkeypatch.setattr(_effects, "COMPONENTS", components)
    monkeypatch.setattr(_effects, "PCA", Spy)
    adata = screen()
    found = _effects.strongest(adata, ["a", "b", "c", "d"], 1)
    assert len(fitted) >= rounds
    x, own = log_normalised(adata), adata.obs["perturbation"].isin(found).to_numpy()
    assert (cdist(fitted[-1], x[~own]).min(1) < 1e-3).all()
    assert (cdist(fitted[-1], x[own]).min(1) > 1e-3).all()
    # the answer is the largest effect in components of the same cells, by another solver
    z = PCA(components, svd_solver="full").fit(fitted[-1]).transform(x)
    labels = adata.obs["perturbation"].astype(str).replace("control", "").to_numpy()
    effects = _effects.distances(z, {("all", name): np.flatnonzero(labels == name) for name in {*labels}})
    assert max(effects, key=effects.get) == found[0]


def test_the_choice_reads_sparse_counts_and_any_order_of_the_cells(monkeypatch):
    monkeypatch.setattr(_effects, "CELLS", 20)
    adata, names = screen(), ["a", "b", "c", "d"]
    first = _effects.strongest(adata, names, 2)
    assert set(first) == {"b", "c"}
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    other.X = sparse.csr_matrix(other.X)
    assert _effects.strongest(other, names, 2) == first


def test_the_components_are_of_the_genes_that_vary_most_among_cells_that_stay(monkeypatch):
    """Genes 0 to 3 vary most of all, but by the perturbation that is held out alone."""
    monkeypatch.setattr(_effects, "GENES", 12)
    fitted = []

    class Spy(PCA):
        def fit(self, x):
            fitted.append(x)
            return super().fit(x)

    monkeypatch.setattr(_effects, "PCA", Spy)
    adata = screen()
    adata.X[(adata.obs["perturbation"] == "a").to_numpy(), :4] *= 50
    assert _effects.strongest(adata, ["a", "b", "c", "d"], 1) == ["a"]
    x, stays = log_normalised(adata), (adata.obs["perturbation"] != "a").to_numpy()
    table = preparation.gene_table(adata, np.flatnonzero(stays))
    wanted = preparation.variable(table, Preparation(top_genes=12))
    np.testing.assert_allclose(fitted[-1], x[stays][:, wanted], rtol=1e-5)
    assert fitted[0].shape[1] == 12
