"""The factorised simulator makes the worlds that fcr.md section 8 describes, with the ceilings found there."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.kernel_ridge import KernelRidge

from scident.models import oracle_noisy, rotated_blocks
from scident.simulators._tables import contrast_spectrum, draw_tables
from scident.simulators.factorised import Params, simulate
from scident.stages.data import separate

X, TX, T = slice(0, 3), slice(3, 7), slice(7, 10)


def drawn(seed, cells=40, **params):
    """Return a world's cells, its truth, and each cell's condition."""
    adata = simulate(Params(cells_per_condition=cells, **params), np.random.default_rng(seed))
    observed, truth = separate(adata)
    codes = (adata.obs[name].cat.codes.to_numpy().astype(int) for name in ("perturbation", "context"))
    treatment, context = codes
    return SimpleNamespace(cells=observed, truth=truth, z=truth.obsm["z_true"], condition=6 * treatment + context)


def embedded(module, name, place, seed=0):
    model = getattr(module, name)(module.Params(), place.z.shape[1])
    model.fit(place.cells, place.cells, np.random.default_rng(seed))
    model.truth = place.truth
    return model.embed(place.cells)


def standardised(values, condition):
    out = np.empty_like(values)
    for k in np.unique(condition):
        own = condition == k
        out[own] = (values[own] - values[own].mean(0)) / values[own].std(0)
    return out


def within_mcc(z, other, condition):
    d = z.shape[1]
    matrix = np.abs(np.corrcoef(standardised(z, condition).T, standardised(other, condition).T)[:d, d:])
    return matrix[linear_sum_assignment(-matrix)].mean()


def block_r2(z, found):
    """Nonlinear R² of a block from its estimate, on the half of the cells not learned from."""
    x = (found - found.mean(0)) / found.std(0)
    half = len(x) // 2
    mean = z[:half].mean(0)
    model = KernelRidge(kernel="rbf", gamma=0.5 / x.shape[1], alpha=1e-3).fit(x[:half], z[:half] - mean)
    error = z[half:] - mean - model.predict(x[half:])
    return 1 - (error**2).sum() / ((z[half:] - z[half:].mean(0)) ** 2).sum()


@pytest.mark.parametrize("rank", [1, "full"])
@pytest.mark.parametrize("mix_block", [False, True])
def test_every_conditional_has_the_moments_of_its_table(rank, mix_block):
    place = drawn(1, cells=500, interaction_rank=rank, mix_block=mix_block)
    tables = place.truth.uns["world"]["tables"]
    for k in range(36):
        t, x = divmod(k, 6)
        own = place.z[place.condition == k]
        for block, mean, sd in (
            (X, tables["a"][x], tables["s"][x]),
            (TX, tables["c"][x, t], tables["v"][x, t]),
            (T, tables["b"][t], tables["r"][t]),
        ):
            if mix_block and block is not TX:
                continue
            # 360 means and sds of 500 cells: 4.5 standard errors
            np.testing.assert_allclose((own[:, block].mean(0) - mean) / sd, 0, atol=4.5 / np.sqrt(500))
            np.testing.assert_allclose(own[:, block].std(0) / sd, 1, atol=4.5 / np.sqrt(1000))


def test_mixed_blocks_depend_on_each_other_given_the_condition():
    def dependence(**params):
        place = drawn(2, cells=500, **params)
        matrix = np.abs(np.corrcoef(standardised(place.z, place.condition).T) - np.eye(10))
        return matrix[X, X].max(), matrix[T, T].max(), np.delete(matrix[TX], [], axis=0).max()

    # 18,000 cells: standard error of a correlation 0.0075, 4.5 of them for the largest of dozens
    x, t, tx = dependence(mix_block=True)
    assert min(x, t) > 0.1
    assert tx < 0.034
    assert max(dependence()) < 0.034


@pytest.mark.parametrize(("rank", "low", "high"), [("full", 3, 14), (1, 3, 30)])
def test_contrast_tables_have_full_rank_and_the_stated_conditioning(rank, low, high):
    rng = np.random.default_rng(3)
    spectra = []
    for _ in range(500):
        tables = draw_tables(6, 6, (3, 4, 3), 2.0, rank, False, rng)
        spectra.append(contrast_spectrum(tables["c"], tables["v"]))
    found = np.array(spectra)
    assert (found[:, -1] > 1e-6 * found[:, 0]).all()
    # the ends of the central 90 % of 500 draws: standard errors 0.1 below, 1 (full) and 3 (rank 1) above
    below, above = np.quantile(found[:, 0] / found[:, -1], [0.05, 0.95])
    assert below == pytest.approx(low, abs=0.4)
    assert above == pytest.approx(high, abs=high / 4)


def test_with_constant_scale_the_contrast_table_has_half_the_rank():
    tables = draw_tables(6, 6, (3, 4, 3), 2.0, 1, True, np.random.default_rng(4))
    spectrum = contrast_spectrum(tables["c"], tables["v"])
    assert (spectrum > 1e-9 * spectrum[0]).sum() == 4


@pytest.mark.parametrize(
    ("params", "low", "high"),
    [
        ({}, 0.992, 0.998),
        ({"interaction_rank": "full"}, 0.992, 0.998),
        ({"preset": "hard"}, 0.94, 0.98),
        ({"observation": "counts"}, 0.94, 0.965),
    ],
    ids=["mild", "full", "hard", "counts"],
)
def test_ceilings_are_the_recorded_ones(params, low, high):
    found = []
    for seed in range(2):
        place = drawn([5, seed], **params)
        ceiling = place.truth.uns["world"]["ceiling"]
        found.append(within_mcc(place.z[:, TX], embedded(oracle_noisy, "OracleNoisy", place)[:, TX], place.condition))
        # the world's own ceiling stops after one step from the truth, which kinks of the decoder make a little wrong
        assert found[-1] == pytest.approx(ceiling, abs=0.001 if high > 0.99 else 0.01)
    assert low < np.mean(found) < high


def test_blocks_of_a_mild_world_can_be_read_from_expression():
    place = drawn(6, cells=60)
    z = embedded(oracle_noisy, "OracleNoisy", place)
    scores = [block_r2(place.z[:, block], z[:, block]) for block in (X, TX, T)]
    assert min(scores) > 0.99


def test_a_rotation_inside_the_interaction_leaves_about_two_thirds():
    place = drawn(7)
    rotated = [embedded(rotated_blocks, "RotatedBlocks", place, seed) for seed in range(20)]
    scores = [within_mcc(place.z[:, TX], z[:, TX], place.condition) for z in rotated]
    # the mean over rotations in four dimensions; sd of one 0.05: 4 standard errors, and the spread of the variances
    assert np.mean(scores) == pytest.approx(0.67, abs=0.06)


def test_shuffled_treatments_leave_the_context_and_hide_the_treatment():
    def explained(block, label, **params):
        place = drawn(8, cells=200, **params)
        means = np.stack([place.z[label(place.condition) == k, block].mean(0) for k in range(6)])
        return means[label(place.condition)].var(0).sum() / place.z[:, block].var(0).sum()

    by_treatment, by_context = (lambda c: c // 6), (lambda c: c % 6)
    # labels without meaning explain 5 of 7,200 parts of the variance
    assert explained(T, by_treatment) > 0.3
    assert explained(T, by_treatment, shuffle_treatments=True) < 0.005
    assert explained(X, by_context, shuffle_treatments=True) == pytest.approx(explained(X, by_context))
