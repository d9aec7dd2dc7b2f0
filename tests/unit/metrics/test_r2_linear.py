import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV

from _worlds import gaussian, haar, member, value, world
from scident.errors import NotApplicable
from scident.metrics import _ridge, r2_linear


def noisy(n_cells=600, n_factors=4, n_latents=7, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n_cells, n_factors))
    seen = z @ rng.standard_normal((n_factors, n_latents)) + 2 * rng.standard_normal((n_cells, n_latents))
    return z, seen


@pytest.mark.parametrize("cells", [55, 300])
def test_ridge_penalty_and_coefficients_equal_grid_search(cells):
    z, seen = noisy(2 * cells)
    x, x_new = _ridge.standardise(seen[:cells], seen[cells:])
    fold = _ridge.folds(cells, np.random.default_rng(0))
    splits = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(_ridge.FOLDS)]
    search = GridSearchCV(Ridge(), {"alpha": _ridge.PENALTIES}, cv=splits, scoring="r2").fit(x, z[:cells])
    penalty = _ridge.choose_penalty(x, z[:cells], fold)
    assert penalty == search.best_params_["alpha"]
    np.testing.assert_allclose(_ridge.predict(x, z[:cells], x_new, penalty), search.predict(x_new), atol=1e-9)


@pytest.mark.parametrize("change", ["rotation", "scaling", "linear"])
def test_r2_of_invertible_linear_map_is_one(change):
    rng = np.random.default_rng(0)
    z = gaussian(2000, 6)
    maps = {
        "rotation": haar(6, rng),
        "scaling": np.diag([1e-3, 1.0, 5.0, 1e3, 2.0, 0.1]),
        "linear": haar(6, rng) @ np.diag([1, 2, 3, 1, 2, 3]) @ haar(6, rng),
    }
    # the smallest penalty, 1e-3 against 1,000 cells, costs about 1e-6
    assert value(r2_linear, world(z, member(z @ maps[change]))).value == pytest.approx(1, abs=1e-4)


def test_r2_of_missing_latent_loses_its_share():
    z = gaussian(4000, 5)
    # the lost factor is predicted by its mean: R² of about -d/n
    assert value(r2_linear, world(z, member(z[:, :4]))).value == pytest.approx(4 / 5, abs=0.01)


def test_r2_of_noise_is_just_below_zero():
    found = value(r2_linear, world(gaussian(2000, 15, 1), member(gaussian(2000, 15, 2)))).value
    # ridge at n = 1000, d = 15: -0.006; sd over draws about 0.003
    assert -0.02 < found < 0.005


def test_r2_insample_is_ordinary_least_squares():
    z, seen = noisy(200)
    expected = r2_score(z, LinearRegression().fit(seen, z).predict(seen))
    found = value(r2_linear, world(z, member(seen), scope="insample"))
    assert found.value == pytest.approx(expected, abs=1e-10)


def test_r2_equals_reference_on_new_cells():
    z, seen = noisy(600)
    x, x_new = _ridge.standardise(seen[:300], seen[300:])
    fold = _ridge.folds(300, np.random.default_rng(0).spawn(2)[0])
    penalty = _ridge.choose_penalty(x, z[:300], fold)
    expected = r2_score(z[300:], Ridge(alpha=penalty).fit(x, z[:300]).predict(x_new))
    assert value(r2_linear, world(z, member(seen))).value == pytest.approx(expected, abs=1e-10)


def test_r2_within_of_label_lookup_is_zero():
    rng = np.random.default_rng(0)
    shift = 5 * rng.standard_normal((10, 4))
    label = np.arange(2000) % 10
    z = rng.standard_normal((2000, 4)) + shift[label]
    inputs = world(z, member(shift[label]))
    assert value(r2_linear, inputs).value > 0.8
    assert value(r2_linear, inputs, "within").value == pytest.approx(0, abs=1e-12)


def test_r2_within_says_when_conditions_are_too_small():
    z = gaussian(180, 2)
    assert value(r2_linear, world(z, member(z)), "within").missing == "too_few_cells"


def test_r2_leaves_constant_factors_out():
    z = gaussian(400, 3)
    flat = np.where(np.arange(3) == 1, 2.0, z)
    assert value(r2_linear, world(flat, member(z))).value == pytest.approx(1, abs=1e-4)
    with pytest.raises(NotApplicable, match="no_truth"):
        value(r2_linear, world(np.ones_like(z), member(z)))


def test_r2_standard_error_is_near_that_of_repeated_cells():
    z, seen = noisy(4000)
    found = value(r2_linear, world(z, member(seen)))
    repeats = []
    for seed in range(20):
        fresh, shown = noisy(4000)
        pick = np.r_[:2000, 2000 + np.random.default_rng(seed).integers(2000, size=2000)]
        repeats.append(value(r2_linear, world(fresh[pick], member(shown[pick]))).value)
    # two sd of 20 draws each: known to 16 %
    assert found.se == pytest.approx(np.std(repeats, ddof=1), rel=0.6)
