from dataclasses import replace

import numpy as np
import pytest

from _worlds import FACTORISED, blocked, factorised, member, value, world
from scident.errors import NotApplicable
from scident.metrics import mcc_interaction, mcc_interaction_offdiag

TX = np.flatnonzero(np.asarray(FACTORISED) == "tx")
VARIANTS = pytest.mark.parametrize("variant", ["within", "within:spearman", "pooled", "pooled:spearman"])


def turned(z, angle):
    """Rotate the two latents of the interaction block."""
    a, out = np.deg2rad(angle), z.copy()
    out[:, TX] = z[:, TX] @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return out


@VARIANTS
def test_mcc_of_true_block_is_one_whatever_the_other_blocks_are(variant):
    z = factorised(1600)
    other = z.copy()
    other[:, np.asarray(FACTORISED) != "tx"] = np.random.default_rng(0).standard_normal((1600, 4))
    assert value(mcc_interaction, blocked(z, other), variant).value == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("angle", [20, 45])
def test_mcc_within_of_rotated_block_is_larger_of_cosine_and_sine(angle):
    z, a = factorised(20_000), np.deg2rad(angle)
    found = value(mcc_interaction, blocked(z, turned(z, angle)), "within").value
    # sd of a correlation at n = 10,000 is below 0.01
    assert found == pytest.approx(max(np.cos(a), np.sin(a)), abs=0.02)


def test_offdiagonal_of_rotated_block_is_smaller_of_cosine_and_sine():
    z, a = factorised(20_000), np.deg2rad(20)
    assert value(mcc_interaction_offdiag, blocked(z, z), "within").value == pytest.approx(0, abs=0.03)
    found = value(mcc_interaction_offdiag, blocked(z, turned(z, 20)), "within").value
    assert found == pytest.approx(np.sin(a), abs=0.02)


def test_model_with_blocks_is_matched_inside_its_block_and_one_without_in_its_whole_latent():
    z = factorised(1600)
    elsewhere = z[:, [2, 3, 0, 1, 4, 5]]
    assert value(mcc_interaction, blocked(z, elsewhere), "within").value < 0.1
    whole = replace(member(elsewhere), blocks=None)
    inputs = world(z, whole, n_perts=4, n_contexts=4, blocks=FACTORISED)
    assert value(mcc_interaction, inputs, "within").value == pytest.approx(1, abs=1e-12)


def test_mcc_within_of_label_lookup_is_zero():
    means = factorised(1600, seed=3) * 0 + np.repeat(np.arange(16.0), 100)[:, None][np.arange(1600) % 16 * 100]
    z = means + factorised(1600)
    inputs = blocked(z, means)
    assert value(mcc_interaction, inputs, "within").value == 0
    assert value(mcc_interaction, inputs, "pooled").value > 0.5


def test_dividing_by_the_sd_gives_every_condition_the_same_say():
    """One condition of 16 has a hundred times the sd and is the only one where the estimate is right."""
    rng = np.random.default_rng(0)
    condition = np.arange(16_000) % 16
    z = rng.standard_normal((16_000, 6)) * np.where(condition == 3, 100.0, 1.0)[:, None]
    other = np.where((condition == 3)[:, None], z, rng.standard_normal(z.shape))
    inputs = blocked(z, other)
    params = mcc_interaction.Params(divide_by_sd=False)
    (plain,) = [v for v in mcc_interaction.score(inputs, params, rng) if v.variant == "within"]
    # variances 10,000 : 15 and a sixteenth of the cells; a correlation on 8,000 cells has sd 0.011
    assert plain.value == pytest.approx(1, abs=0.01)
    assert value(mcc_interaction, inputs, "within").value == pytest.approx(1 / 16, abs=0.04)


def test_pooled_is_given_where_conditions_are_too_small():
    z = factorised(200)
    inputs = blocked(z, z, n_perts=10, n_contexts=5)
    assert value(mcc_interaction, inputs, "within").missing == "too_few_cells"
    assert value(mcc_interaction, inputs, "pooled").value == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("metric", [mcc_interaction, mcc_interaction_offdiag])
def test_truth_without_blocks_is_refused(metric):
    z = factorised(400)
    with pytest.raises(NotApplicable, match="no_blocks"):
        value(metric, world(z, member(z), n_perts=4), "within")
