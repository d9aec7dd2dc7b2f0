import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from _worlds import gaussian
from scident.metrics import _kernel_ridge, _ridge
from scident.metrics._memory import remembered


def curved(cells, seed=0):
    """Three inputs and three targets: a wave, a square, and noise."""
    x, noise = gaussian(cells, 3, seed), gaussian(cells, 3, seed + 100)
    y = np.stack([np.sin(2 * x[:, 0]) + 0.3 * noise[:, 0], x[:, 1] ** 2, noise[:, 2]], axis=1)
    return x, y + np.array([5.0, 0.0, -2.0])


def test_predictions_equal_those_of_the_reference_with_the_same_folds():
    (x, y), (x_new, _) = curved(300), curved(200, 1)
    fold = _ridge.folds(300, np.random.default_rng(0))
    found = _kernel_ridge.predict(x, y, x_new, np.arange(3), fold)
    gamma, centre = 0.5 / np.median(pdist(x)) ** 2, y.mean(axis=0)
    chosen = []
    for target in range(3):
        centred, lost = y[:, target] - centre[target], []
        for ridge in _kernel_ridge.RIDGES:
            model = KernelRidge(alpha=ridge, kernel="rbf", gamma=gamma)
            lost.append(((centred - cross_val_predict(model, x, centred, cv=PredefinedSplit(fold))) ** 2).sum())
        chosen.append(_kernel_ridge.RIDGES[np.argmin(lost)])
        model = KernelRidge(alpha=chosen[-1], kernel="rbf", gamma=gamma).fit(x, centred)
        # what is left out of the kernel matrix is at most 3e-8 in all, the smallest ridge 1e-4
        np.testing.assert_allclose(found[:, target], model.predict(x_new) + centre[target], atol=5e-4)
    assert len(set(chosen)) > 1


def test_targets_of_a_group_share_the_ridge_that_is_best_for_their_mean():
    (x, y), (x_new, _) = curved(300), curved(50, 1)
    fold = _ridge.folds(300, np.random.default_rng(0))
    apart = _kernel_ridge.predict(x, y[:, 1:], x_new, np.array([0, 1]), fold)
    together = _kernel_ridge.predict(x, y[:, 1:], x_new, np.array([0, 0]), fold)
    alone = _kernel_ridge.predict(x, y[:, [2]], x_new, np.array([0]), fold)
    np.testing.assert_allclose(apart[:, [1]], alone, atol=1e-9)
    assert np.abs(apart - together).max() > 1e-3


def test_cube_of_one_latent_is_undone():
    z = gaussian(2000, 1)
    fold = _ridge.folds(1000, np.random.default_rng(0))
    x, x_new = _ridge.standardise(z[:1000] ** 3, z[1000:] ** 3)
    predicted = _kernel_ridge.predict(x, z[:1000], x_new, np.array([0]), fold)
    # the slope is infinite at 0, so the kernel's width bounds it: scikit-learn's gives 0.952, or 0.956 on 2,500 cells
    assert _ridge.r2(z[1000:], predicted, np.ones((1, 1000)))[0, 0] == pytest.approx(0.952, abs=0.002)


def test_noise_explains_nothing():
    x, y = gaussian(3000, 3), gaussian(3000, 2, 1)
    fold = _ridge.folds(1500, np.random.default_rng(0))
    predicted = _kernel_ridge.predict(x[:1500], y[:1500], x[1500:], np.zeros(2, int), fold)
    found = _ridge.r2(y[1500:], predicted, np.ones((1, 1500)))
    # the largest ridge, 10, keeps some 15 directions for 1,500 cells
    assert -0.05 < found.min() <= found.max() < 0.02


def test_constant_inputs_predict_the_mean():
    y = gaussian(100, 2)
    fold = _ridge.folds(100, np.random.default_rng(0))
    predicted = _kernel_ridge.predict(np.zeros((100, 3)), y, np.zeros((7, 3)), np.zeros(2, int), fold)
    np.testing.assert_allclose(predicted, np.tile(y.mean(axis=0), (7, 1)), atol=1e-12)


def test_memory_answers_equal_arguments_without_a_call_and_others_with_one():
    calls = []

    @remembered
    def total(values, power):
        calls.append(power)
        return float((values**power).sum())

    a = np.arange(4.0)
    assert (total(a, 2), total(a.copy(), 2), total(a, 3), total(a + 1, 2)) == (14, 14, 36, 30)
    assert calls == [2, 3, 2]
    assert total(a.reshape(2, 2), 2) == pytest.approx(14)
    assert len(calls) == 4
