"""The simulator makes the world that svae.md section 5 describes, and its ceiling is where metrics.md puts it."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from scident.models._map import Process, map_latents
from scident.models._mixture import Mixture
from scident.simulators.sparse_shift import Params, expected, simulate


def mean_correlation(a, b):
    d = a.shape[1]
    matrix = np.abs(np.corrcoef(a.T, b.T)[:d, d:])
    return matrix[linear_sum_assignment(-matrix)].mean()


def targets_of(replace, seed):
    params = Params(n_perturbations=6000, cells_per_perturbation=1, replace=replace)
    return simulate(params, np.random.default_rng(seed)).uns["shift"]


@pytest.mark.parametrize(("replace", "mean"), [(True, 1.9126), (False, 2.0)])
def test_mean_number_of_targets_is_the_expected_one(replace, mean):
    # with replacement: (1 + (2 − 1/15) + 15 (1 − (14/15)³)) / 3; sd of the number is 0.8, so 4 standard errors of
    # 6,000 perturbations are 0.042
    assert (targets_of(replace, 1) != 0).sum(axis=1).mean() == pytest.approx(mean, abs=0.042)


def test_shifts_are_five_on_average_and_of_either_sign():
    shift = targets_of(replace=False, seed=2)
    sizes, signs = np.abs(shift[shift != 0]), np.sign(shift[shift != 0])
    # 12,000 shifts: standard errors 0.5/√n = 0.0046, 0.5/√(2n) = 0.0032 and 1/√n = 0.0091; 4 of each
    assert sizes.mean() == pytest.approx(5, abs=0.018)
    assert sizes.std() == pytest.approx(0.5, abs=0.013)
    assert signs.mean() == pytest.approx(0, abs=0.037)


def test_released_world_has_the_recorded_moments():
    adata = simulate(Params(), np.random.default_rng(3))
    counts = np.asarray(adata.X, dtype=np.float64)
    # totals per gene are Poisson(1e6): sd 1,000, and 5 of them for the largest of 100
    np.testing.assert_allclose(counts.sum(axis=0), 1e6, atol=5000)
    library = counts.sum(axis=1)
    assert library.mean() == pytest.approx(4000, abs=2)  # the grand total is Poisson(1e8): sd 1e4 over 25,000 cells
    # recorded over 3 worlds: 3,107 and 6,736; sd over 12 worlds 64 and 530 counts; 4 of each
    low, high = np.quantile(library, [0.01, 0.99])
    assert low == pytest.approx(3107, abs=256)
    assert high == pytest.approx(6736, abs=2120)
    # sd over the same worlds 0.00026
    assert (counts == 0).mean() == pytest.approx(0.0012, abs=0.00105)


def test_corrected_world_has_a_constant_expected_library():
    adata = simulate(Params(variant="corrected", cells_per_perturbation=50), np.random.default_rng(4))
    library = np.asarray(adata.X, dtype=np.float64).sum(axis=1)
    # Poisson(4,000) over 5,000 cells: standard error of the mean 0.9; of the variance √(2/5,000) = 2 %
    assert library.mean() == pytest.approx(4000, abs=4)
    assert library.var() == pytest.approx(4000, rel=0.08)


def test_counts_are_poisson_around_the_expected_means():
    adata = simulate(Params(cells_per_perturbation=50), np.random.default_rng(5))
    mean, _ = expected(adata.uns["world"], adata.obsm["z_true"])
    residual = (adata.X - mean) ** 2 / mean
    # 500,000 squared standardised residuals of variance about 2: standard error 0.002
    assert residual.mean() == pytest.approx(1, abs=0.008)


@pytest.mark.parametrize(("variant", "wanted"), [("released", 0.989), ("corrected", 0.988)])
def test_ceiling_of_the_default_world_is_the_recorded_one(variant, wanted):
    found = []
    for seed in range(2):
        adata = simulate(Params(variant=variant), np.random.default_rng([6, seed]))
        trained = adata.obs["perturbation"].cat.codes.to_numpy() < 80
        # every 4th cell: 5,000 cells leave a correlation of 0.99 a standard error of 0.0003
        rows = np.flatnonzero(trained)[::4]
        z = adata.obsm["z_true"][rows]
        counts = np.asarray(adata.X)[rows]
        process = Process(adata.uns["world"], expected, Mixture.of_unit_sd(adata.uns["shift"][:80]))
        found.append(mean_correlation(z, map_latents(counts, process, z)))
    # the tolerance for the ceiling
    assert np.mean(found) == pytest.approx(wanted, abs=0.005)
