import numpy as np
import pytest
from scipy import stats

from scident.aggregate import intervals


def test_t_interval_equals_scipy():
    values = np.array([0.71, 0.80, 0.77, 0.79, 0.83])
    expected = stats.t.interval(0.95, df=4, loc=values.mean(), scale=stats.sem(values))
    assert intervals.t_interval(values) == pytest.approx(expected)


def test_t_interval_of_two_units_is_hand_computed():
    # mean 1, standard error 1 (sd √2 over √2), t quantile of one degree of freedom tan(0.475 π) = 12.706
    low, high = intervals.t_interval(np.array([0.0, 2.0]))
    assert (low, high) == pytest.approx((1 - 12.7062, 1 + 12.7062), abs=1e-4)


def test_t_interval_of_one_unit_is_refused():
    with pytest.raises(ValueError, match="at least 2 units, got 1"):
        intervals.t_interval(np.array([1.0]))


def test_t_interval_covers_the_mean_at_its_level():
    draws = 4_000
    samples = np.random.default_rng(0).normal(size=(draws, 5))
    ends = np.array([intervals.t_interval(sample) for sample in samples])
    coverage = ((ends[:, 0] < 0) & (ends[:, 1] > 0)).mean()
    # standard error of a coverage of 0.95 over the draws is 0.0034; four of them
    assert coverage == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / draws))


def test_bootstrap_of_equal_units_has_no_width():
    units = [np.array([0.5, 0.5])] * 20
    assert intervals.hierarchical_bootstrap(units, np.random.default_rng(0)) == (0.5, 0.5)


def test_bootstrap_agrees_with_normal_theory_over_many_units():
    means = np.random.default_rng(1).normal(3.0, 1.0, size=200)
    low, high = intervals.hierarchical_bootstrap([np.array([m]) for m in means], np.random.default_rng(2))
    half = 1.96 * means.std() / np.sqrt(200)
    # a 2.5 % quantile over 2000 draws has a standard error of about 0.06 of the half width; four of them
    assert (low, high) == pytest.approx((means.mean() - half, means.mean() + half), abs=0.25 * half)


def test_bootstrap_counts_units_equally_whatever_their_seeds():
    units = [np.array([0.0]), np.array([1.0, 1.0, 1.0])] * 500
    low, high = intervals.hierarchical_bootstrap(units, np.random.default_rng(0))
    # sd of a mean of 1000 fair coins is 0.016; the interval lies within four of it around one half
    assert 0.5 - 0.064 < low < 0.5 < high < 0.5 + 0.064


def test_bootstrap_resamples_seeds_inside_a_unit():
    low, high = intervals.hierarchical_bootstrap([np.array([0.0, 1.0])] * 20, np.random.default_rng(0))
    assert low < 0.5 < high


@pytest.mark.parametrize(
    ("units", "se", "label"),
    [
        ([], None, intervals.NONE),
        ([[0.5]], None, intervals.SINGLE),
        ([[0.5]], 0.1, intervals.SEED_SE),
        ([[0.4, 0.6]], None, intervals.SEED_SD),
        ([[0.4], [0.6]], None, intervals.T_OVER_REPLICATES),
        ([[0.4], [0.6]] * 10, None, intervals.BOOTSTRAP),
    ],
)
def test_interval_names_what_the_units_allow(units, se, label):
    found = intervals.interval_of([np.array(u) for u in units], se, np.random.default_rng(0))
    assert found[2] == label


def test_interval_over_seeds_is_mean_and_sd():
    low, high, _ = intervals.interval_of([np.array([0.4, 0.6])], None, np.random.default_rng(0))
    assert (low, high) == pytest.approx((0.5 - 0.1 * np.sqrt(2), 0.5 + 0.1 * np.sqrt(2)))
