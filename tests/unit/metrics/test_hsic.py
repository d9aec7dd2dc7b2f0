from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from _worlds import blocked, factorised, gaussian
from scident.errors import NotApplicable
from scident.metrics import _hsic, _independence, hsic_strat
from scident.metrics._independence import Cells, Hypothesis


def orders(cells, draws, rng):
    return rng.permuted(np.tile(np.arange(cells), (draws, 1)), axis=1)


def p_value(u, v, rng, draws):
    """Test of one stratum."""
    k, m = _hsic.centred(_hsic.gaussian(u)), _hsic.centred(_hsic.gaussian(v))
    null = _hsic.null(k, m, orders(len(u), draws, rng))
    return (1 + (null >= _hsic.hsic(k, m)).sum()) / (draws + 1)


def test_kernels_equal_their_definition():
    values, label = gaussian(7, 2), np.array([0, 1, 0, 2, 1, 0, 2])
    squared = ((values[:, None] - values[None, :]) ** 2).sum(axis=2)
    width = np.median(squared[squared > 0])
    np.testing.assert_allclose(_hsic.gaussian(values), np.exp(-squared / width), atol=1e-12)
    np.testing.assert_array_equal(_hsic.delta(label), [[a == b for b in label] for a in label])
    centre = np.eye(7) - 1 / 7
    kernel = _hsic.gaussian(values)
    np.testing.assert_allclose(_hsic.centred(kernel), centre @ kernel @ centre, atol=1e-12)


def test_statistic_equals_its_double_loop():
    """Gretton et al. 2005, equation 4: means over pairs, quadruples and triples."""
    n = 12
    k, m = _hsic.gaussian(gaussian(n, 2)), _hsic.gaussian(gaussian(n, 1, 1))
    pairs = sum(k[i, j] * m[i, j] for i in range(n) for j in range(n)) / n**2
    triples = sum(k[i, j] * m[i, q] for i in range(n) for j in range(n) for q in range(n)) / n**3
    expected = pairs + k.mean() * m.mean() - 2 * triples
    assert _hsic.hsic(_hsic.centred(k), _hsic.centred(m)) == pytest.approx(expected, abs=1e-14)


def test_statistic_of_two_labels_is_their_squared_distance_from_independence():
    rng = np.random.default_rng(0)
    a, b = rng.integers(3, size=60), rng.integers(2, size=60)
    joint = np.array([[((a == i) & (b == j)).mean() for j in range(2)] for i in range(3)])
    expected = ((joint - np.outer(joint.sum(axis=1), joint.sum(axis=0))) ** 2).sum()
    found = _hsic.hsic(_hsic.centred(_hsic.delta(a)), _hsic.centred(_hsic.delta(b)))
    assert found == pytest.approx(expected, abs=1e-14)


def test_null_equals_statistics_of_permuted_cells():
    rng = np.random.default_rng(0)
    k, m = (_hsic.centred(_hsic.gaussian(gaussian(30, 2, seed))) for seed in (0, 1))
    drawn = orders(30, 5, rng)
    expected = [sum(k[i, j] * m[o[i], o[j]] for i in range(30) for j in range(30)) / 900 for o in drawn]
    np.testing.assert_allclose(_hsic.null(k, m, drawn), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("batch", [1, 100_000])
def test_null_of_labels_equals_that_of_their_kernel(monkeypatch, batch):
    monkeypatch.setattr(_hsic, "BATCH", batch)
    rng = np.random.default_rng(0)
    k, label = _hsic.centred(_hsic.gaussian(gaussian(40, 2))), rng.integers(4, size=40)
    drawn = orders(40, 7, rng)
    expected = _hsic.null(k, _hsic.centred(_hsic.delta(label)), drawn)
    np.testing.assert_allclose(_hsic.null_of_labels(k, label, drawn), expected, rtol=1e-4, atol=1e-8)


def null_p(repeats, cells, draws):
    """P values where nothing depends on anything but its stratum: two strata with means far apart."""
    hypothesis = Hypothesis("", "z_x", "z_t", "x", True)
    params = hsic_strat.Params(permutations=draws, subsamples=2)
    found = []
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        stratum = np.arange(2 * cells) % 2
        u, v = (rng.standard_normal((2 * cells, 2)) + 5 * stratum[:, None] for _ in range(2))
        data = Cells({"z_x": u, "z_t": v}, {"x": stratum}, {"x": stratum})
        found.append(hsic_strat._test(data, hypothesis, params, rng).p)
    return np.array(found)


@pytest.mark.slow
def test_size_of_the_stratified_test_is_five_percent_and_its_p_uniform():
    p = null_p(500, 25, 199)
    # 5 % of 500: standard error 0.97 %
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.02)
    jittered = p - np.random.default_rng(0).uniform(0, 1 / 200, 500)  # p has steps of 1/200
    assert kstest(jittered, "uniform").pvalue > 0.01


def test_pooling_the_strata_would_reject():
    """The stratified test does not reject what only the strata explain."""
    stratum = np.arange(100) % 2
    rng = np.random.default_rng(0)
    u, v = (rng.standard_normal((100, 2)) + 5 * stratum[:, None] for _ in range(2))
    data = Cells({"z_x": u, "z_t": v}, {"x": stratum}, {"x": stratum, "": np.zeros(100, dtype=np.int64)})
    params = hsic_strat.Params(permutations=99)
    stratified, pooled = (
        hsic_strat._test(data, Hypothesis("", "z_x", "z_t", given, True), params, rng) for given in ("x", "")
    )
    assert stratified.p > 0.05
    assert stratified.ratio == pytest.approx(1, abs=0.6)
    assert pooled.p == 0.01
    assert pooled.ratio > 10


@pytest.mark.slow
@pytest.mark.parametrize(("r", "cells", "power"), [(0.3, 200, 0.87), (0.5, 100, 0.94), (0.0, 100, 0.04)])
def test_power_on_gaussian_pairs_matches_the_simulated_one(r, cells, power):
    rejected = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        u, noise = rng.standard_normal((2, cells, 1))
        rejected += p_value(u, r * u + np.sqrt(1 - r**2) * noise, rng, 199) <= 0.05
    # both the figure (150 repeats) and this are simulated: standard error of the difference at most 4.4 %
    assert rejected / 100 == pytest.approx(power, abs=0.12)


def scores(inputs, **params):
    size = {"permutations": 199, "cells_per_stratum": 100} | params
    found = hsic_strat.score(inputs, hsic_strat.Params(**size), np.random.default_rng(0))
    return {value.variant: value for value in found}


def test_all_nine_statements_come_out_as_the_world_was_made():
    z = factorised(3200)
    found = scores(blocked(z, z))
    for hypothesis in _independence.HYPOTHESES:
        p, ratio = (found[f"{hypothesis.name}:{part}"].value for part in ("p", "ratio"))
        assert (p > 0.01) == hypothesis.independent, hypothesis.name
        assert (ratio < 1.5) == hypothesis.independent, hypothesis.name
    assert found["independent:rejected"].value == 0
    assert found["dependent:rejected"].value == 4
    assert found["independent:largest_effect"].value < 0.1 < found["dependent:smallest_effect"].value
    effects = [found[f"{h.name}:effect"].value for h in _independence.HYPOTHESES if h.independent]
    assert found["independent:largest_effect"].value == max(effects)


def test_leak_of_the_perturbation_into_z_x_is_found():
    z = factorised(3200)
    leaky = z.copy()
    leaky[:, 0] += 0.7 * z[:, 4]
    found = scores(blocked(z, leaky))
    assert found["z_x-t|x:p_holm"].value < 0.1
    assert found["z_x-z_t|x+t:p"].value < 0.05
    assert found["z_t-x|t:p"].value > 0.05
    assert found["z_t-z_tx|t:p"].value > 0.05
    # z_tx depends on the perturbation too, so the leak shows there as well
    assert found["independent:largest_effect"].note in ("z_x-t|x", "z_x-z_tx|x", "z_x-z_t|x+t")


def test_effect_of_a_block_with_itself_is_one_and_its_error_is_near_that_of_new_cells():
    rng = np.random.default_rng(0)
    hypothesis = Hypothesis("", "z_x", "z_t", "", False)
    params = hsic_strat.Params(permutations=19, subsamples=40)

    def test(u, v):
        data = Cells({"z_x": u, "z_t": v}, {}, {"": np.zeros(len(u), dtype=np.int64)})
        return hsic_strat._test(data, hypothesis, params, rng)

    u = rng.standard_normal((100, 2))
    assert test(u, u).effect == pytest.approx(1, abs=1e-9)
    drawn = [test(u, u + rng.standard_normal(u.shape)) for u in rng.standard_normal((30, 100, 2))]
    # the sd of 30 effects is known to 13 %
    spread = np.std([one.effect for one in drawn], ddof=1)
    assert np.mean([one.effect_se for one in drawn]) == pytest.approx(spread, rel=0.5)


def test_strata_are_capped_and_small_ones_left_out():
    label = np.repeat([0, 1, 2], [19, 20, 90])
    strata = hsic_strat._strata(label, 50, np.random.default_rng(0))
    assert [len(rows) for rows in strata] == [20, 50]
    assert set(strata[0]) == set(range(19, 39))
    with pytest.raises(NotApplicable, match="too_few_cells"):
        hsic_strat._strata(np.repeat([0, 1], 19), 50, np.random.default_rng(0))


def test_statements_about_one_context_or_a_dead_block_are_refused_and_the_others_tested():
    z = factorised(1600, n_contexts=1)
    dead = z.copy()
    dead[:, [4, 5]] = 1.0
    found = scores(blocked(z, dead, n_contexts=1))
    assert found["z_x-x:p"].missing == found["z_tx-x|t:effect"].missing == "one_context"
    assert found["z_t-t:p"].missing == found["z_x-z_t|x+t:p_holm"].missing == "constant_block"
    assert not found["z_x-t|x:p"].missing


def test_holm_equals_the_definition():
    np.testing.assert_allclose(_independence.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(_independence.holm([0.6, 0.9]), [1, 1])


def test_model_without_blocks_is_refused():
    z = factorised(800)
    inputs = blocked(z, z)
    bare = replace(inputs, members=(replace(inputs.member, blocks=None),))
    with pytest.raises(NotApplicable, match="no_blocks"):
        scores(bare)
