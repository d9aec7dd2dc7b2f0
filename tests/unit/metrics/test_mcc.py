import numpy as np
import pytest
from scipy.stats import spearmanr

from _worlds import gaussian, haar, member, value, world
from scident.errors import NonFiniteError, NotApplicable
from scident.metrics import _assign, mcc_pearson, mcc_spearman, mcc_within

BOTH = pytest.mark.parametrize("metric", [mcc_pearson, mcc_spearman])


@BOTH
def test_mcc_of_truth_is_one(metric):
    z = gaussian(400, 5)
    assert value(metric, world(z, member(z))).value == pytest.approx(1, abs=1e-12)


@BOTH
def test_mcc_ignores_order_sign_and_scale(metric):
    z = gaussian(400, 5)
    moved = -z[:, [3, 0, 4, 1, 2]] * np.array([1.0, -2, 30, 0.1, 5]) + 7
    assert value(metric, world(z, member(moved))).value == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "pearson"),
    [(lambda z: z**3, 3 / np.sqrt(15)), (np.exp, 1 / np.sqrt(np.e - 1))],
    ids=["cube", "exp"],
)
def test_mcc_of_monotone_map_is_its_correlation(change, pearson):
    z = gaussian(40_000, 3)
    inputs = world(z, member(change(z)))
    assert value(mcc_spearman, inputs).value == pytest.approx(1, abs=1e-12)
    # heavy tails: sd of one correlation of exp(z) at n = 20,000 is about 0.012, of the mean of three 0.007
    assert value(mcc_pearson, inputs).value == pytest.approx(pearson, abs=0.02)


@pytest.mark.parametrize("angle", [10, 45, 70])
def test_mcc_of_plane_rotation_is_larger_of_cosine_and_sine(angle):
    z, a = gaussian(20_000, 2), np.deg2rad(angle)
    turned = z @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    # sd of a correlation at n = 10,000 is below 0.01
    expected = max(np.cos(a), np.sin(a))
    assert value(mcc_pearson, world(z, member(turned))).value == pytest.approx(expected, abs=0.02)


def test_mcc_of_random_rotation_matches_its_law():
    rng = np.random.default_rng(1)
    z = gaussian(4000, 15)
    found = [value(mcc_pearson, world(z, member(z @ haar(15, rng)))).value for _ in range(12)]
    # 0.522 with sd 0.022 over rotations: standard error of 12 is 0.0064; 3 of them
    assert np.mean(found) == pytest.approx(0.522, abs=0.02)


@BOTH
@pytest.mark.parametrize("change", ["deleted", "constant"])
def test_mcc_of_missing_latent_loses_its_share(metric, change):
    z = gaussian(400, 5)
    broken = np.delete(z, 2, axis=1) if change == "deleted" else np.where(np.arange(5) == 2, 3.0, z)
    found = value(metric, world(z, member(broken)))
    assert found.value == pytest.approx(4 / 5, abs=1e-12)
    assert ("n_latents=4" if change == "deleted" else "n_dead=1") in found.note


@BOTH
def test_mcc_with_more_latents_than_factors_keeps_one(metric):
    z = gaussian(400, 4)
    found = value(metric, world(z[:, :2], member(z)))
    assert found.value == pytest.approx(1, abs=1e-12)
    assert "n_latents=4, n_factors=2" in found.note


def test_mcc_drops_constant_factor_from_mean():
    z = gaussian(400, 3)
    flat = z.copy()
    flat[:, 1] = 4.0
    found = value(mcc_pearson, world(flat, member(z)))
    assert found.value == pytest.approx(1, abs=1e-12)
    assert "n_true_const=1" in found.note


def test_spearman_of_gaussian_pair_follows_pearson():
    rng, r = np.random.default_rng(0), 0.6
    z = rng.standard_normal((40_000, 1))
    other = r * z + np.sqrt(1 - r**2) * rng.standard_normal(z.shape)
    # sd of a rank correlation at n = 20,000 is about 0.005
    assert value(mcc_spearman, world(z, member(other))).value == pytest.approx(6 / np.pi * np.arcsin(r / 2), abs=0.015)


def test_mcc_of_noise_is_half_the_expected_correlation():
    rng = np.random.default_rng(3)
    n = 1000
    found = [
        value(mcc_pearson, world(rng.standard_normal((2 * n, 15)), member(rng.standard_normal((2 * n, 15))))).value
        for _ in range(10)
    ]
    # one term is max(0, N(0, 1/n)) with mean 0.0126 and sd 0.018; 150 terms: standard error 0.0015
    assert np.mean(found) == pytest.approx(0.5 * np.sqrt(2 / (np.pi * n)), abs=0.005)


@BOTH
def test_mcc_counts_a_sign_that_turns_on_new_cells_as_nothing(metric):
    z = gaussian(400, 2)
    turned = z.copy()
    turned[200:, 0] *= -1
    assert value(metric, world(z, member(turned))).value == pytest.approx(0.5, abs=1e-12)


def test_mcc_insample_takes_absolute_correlation_on_same_cells():
    rng = np.random.default_rng(0)
    z, noise = rng.standard_normal((200, 15)), rng.standard_normal((200, 15))
    # in-sample chance at n = 200, d = 15 is 0.132; its sd over draws is about 0.007
    assert value(mcc_pearson, world(z, member(noise), scope="insample")).value == pytest.approx(0.132, abs=0.025)


@BOTH
def test_mcc_standard_error_matches_theory(metric):
    rng, n, r = np.random.default_rng(0), 4000, 0.5
    z = rng.standard_normal((2 * n, 1))
    other = r * z + np.sqrt(1 - r**2) * rng.standard_normal(z.shape)
    # (1 - r²)/√n for Pearson, about 7 % more for ranks; a sd of 20 draws is itself known to 16 %
    assert value(metric, world(z, member(other))).se == pytest.approx((1 - r**2) / np.sqrt(n), rel=0.6)


def test_weighted_rank_correlation_equals_spearman_of_repeated_cells():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 8, 60).astype(float), rng.standard_normal(60)
    weights = rng.integers(0, 4, (3, 60)).astype(float)
    found = _assign.weighted_correlation(a, b, weights, ranks=True)
    expected = [spearmanr(np.repeat(a, w.astype(int)), np.repeat(b, w.astype(int))).statistic for w in weights]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_mcc_within_of_label_lookup_is_zero():
    rng = np.random.default_rng(0)
    shift = 5 * rng.standard_normal((10, 4))
    label = np.arange(2000) % 10
    z = rng.standard_normal((2000, 4)) + shift[label]
    lookup = (1e3 + shift[label]).astype(np.float32)
    inputs = world(z, member(lookup))
    assert value(mcc_pearson, inputs).value > 0.8
    for variant in ("pearson", "spearman"):
        assert value(mcc_within, inputs, variant).value == 0


def test_mcc_within_without_shifts_equals_mcc():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20_000, 3))
    other = z + rng.standard_normal(z.shape)
    inputs = world(z, member(other))
    # removing ten means from 10,000 cells moves a correlation by about 10 / 10,000
    for variant, metric in (("pearson", mcc_pearson), ("spearman", mcc_spearman)):
        assert value(mcc_within, inputs, variant).value == pytest.approx(value(metric, inputs).value, abs=0.003)


def test_mcc_within_needs_ten_cells_per_condition():
    z = gaussian(200, 2)
    assert value(mcc_within, world(z, member(z), n_perts=10), "pearson").n == 100
    z = gaussian(180, 2)
    with pytest.raises(NotApplicable, match="too_few_cells"):
        value(mcc_within, world(z, member(z), n_perts=10), "pearson")


@BOTH
def test_mcc_refuses_missing_truth(metric):
    z = gaussian(200, 2)
    with pytest.raises(NotApplicable, match="no_truth"):
        value(metric, world(None, member(z)))


def test_mcc_refuses_few_cells():
    z = gaussian(98, 2)
    with pytest.raises(NotApplicable, match="too_few_cells"):
        value(mcc_pearson, world(z, member(z)))


@BOTH
def test_mcc_fails_on_nan(metric):
    z = gaussian(200, 2)
    broken = z.copy()
    broken[150, 1] = np.nan
    with pytest.raises(NonFiniteError, match="nonfinite_latents"):
        value(metric, world(z, member(broken)))
