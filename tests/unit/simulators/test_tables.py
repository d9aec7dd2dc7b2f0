import itertools

import numpy as np
import pytest

from scident.simulators._tables import conditionals, contrast_spectrum, draw_tables, rich

SIZES = (3, 4, 2)


def tables(seed=0, *, contexts=6, treatments=6, strength=2.0, rank=1, constant_scale=False):
    return draw_tables(contexts, treatments, SIZES, strength, rank, constant_scale, np.random.default_rng(seed))


def contrasts(table):
    return np.array(
        [
            table[x, t] - table[0, t] - table[x, 0] + table[0, 0]
            for x, t in itertools.product(range(1, len(table)), range(1, table.shape[1]))
        ]
    )


@pytest.mark.parametrize("rank", [1, "full"])
def test_the_control_is_standard_normal_in_the_latents_treatments_move(rank):
    found = tables(rank=rank)
    for name, wanted in (("b", 0), ("r", 1)):
        np.testing.assert_array_equal(found[name][0], wanted)
    for name, wanted in (("c", 0), ("v", 1)):
        np.testing.assert_array_equal(found[name][:, 0], wanted)


@pytest.mark.parametrize("rank", [1, "full"])
def test_interactions_have_no_main_effect_but_that_of_the_control_subtracted(rank):
    found = tables(rank=rank)
    for table in (found["c"], np.log(found["v"])):
        # what is subtracted depends on the context alone, so contexts average to 0 under every treatment
        np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-12)
        assert (np.abs(table[:, 1:]) > 0).all()


@pytest.mark.parametrize(("rank", "wanted"), [(1, 1), ("full", 5)])
def test_rank_of_the_interaction_of_one_latent(rank, wanted):
    found = tables(rank=rank)
    for table in (found["c"], np.log(found["v"])):
        assert {int(np.linalg.matrix_rank(table[:, :, i], tol=1e-9)) for i in range(4)} == {wanted}


def test_main_effects_keep_their_laws():
    found = draw_tables(300, 300, (2, 2, 2), 2.0, "full", False, np.random.default_rng(1))
    # 600 uniform draws on an interval of width w: mean within 4 · w / √(12 · 600), all inside
    for name, low, high in (("a", -2, 2), ("s", 0.5, 1.5), ("b", -2, 2), ("r", 0.5, 1.5)):
        values = found[name][1:]
        assert low <= values.min() < low + 0.1
        assert high - 0.1 < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=4 * (high - low) / np.sqrt(12 * 600))


@pytest.mark.parametrize("rank", [1, "full"])
@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_interactions_have_the_stated_size_before_the_control_is_subtracted(rank, strength):
    pieces = [tables(seed, rank=rank, strength=strength) for seed in range(200)]
    for name, size in (("c", strength), ("v", 0.5)):
        table = np.stack([np.log(p["v"]) if name == "v" else p["c"] for p in pieces])
        back = table - table.mean(axis=2, keepdims=True)
        # variance (1 - 1/6)² of a doubly centred normal table; 800 tables of at least 10 free numbers: 4 · √(2/8000)
        assert (back**2).mean() == pytest.approx((size * 5 / 6) ** 2, rel=4 * np.sqrt(2 / 8000))


def test_strength_multiplies_the_means_alone():
    one, three = tables(strength=1.0), tables(strength=3.0)
    np.testing.assert_allclose(three["c"], 3 * one["c"])
    np.testing.assert_array_equal(three["v"], one["v"])


def test_constant_scale_leaves_the_means():
    usual, constant = tables(), tables(constant_scale=True)
    np.testing.assert_array_equal(constant["c"], usual["c"])
    np.testing.assert_array_equal(constant["v"], 1)


def test_conditionals_join_the_blocks_of_every_pair():
    found = tables(contexts=4, treatments=3)
    mean, sd = conditionals(found)
    assert mean.shape == sd.shape == (3, 4, 9)
    for t, x in itertools.product(range(3), range(4)):
        np.testing.assert_array_equal(mean[t, x], [*found["a"][x], *found["c"][x, t], *found["b"][t]])
        np.testing.assert_array_equal(sd[t, x], [*found["s"][x], *found["v"][x, t], *found["r"][t]])


def test_contrast_spectrum_equals_the_definition_pair_by_pair():
    found = tables(rank="full")
    c, v = found["c"], found["v"]
    table = np.concatenate([contrasts(1 / v**2), contrasts(c / v**2)], axis=1)
    wanted = np.linalg.svd(table / np.sqrt((table**2).sum(0)), compute_uv=False)
    np.testing.assert_allclose(contrast_spectrum(c, v), wanted)


def test_additive_tables_have_no_contrast():
    rng = np.random.default_rng(0)
    precision = 1 + rng.uniform(size=(6, 1, 4)) + rng.uniform(size=(1, 6, 4))
    c = (rng.standard_normal((6, 1, 4)) + rng.standard_normal((1, 6, 4))) / precision
    assert not rich(contrast_spectrum(np.zeros((6, 6, 4)), np.ones((6, 6, 4))), 4)
    table = np.concatenate([contrasts(precision), contrasts(c * precision)], axis=1)
    np.testing.assert_allclose(table, 0, atol=1e-12)


def test_rich_asks_for_full_rank_and_a_condition_number_of_at_most_twenty():
    assert rich(np.array([2.0, 0.1]), 1)
    assert not rich(np.array([2.0, 0.099]), 1)
    assert not rich(np.array([2.0]), 1)
    assert not rich(np.zeros(2), 1)


def test_too_few_pairs_cannot_be_rich():
    found = tables(contexts=2, treatments=2)
    assert len(contrast_spectrum(found["c"], found["v"])) == 1
