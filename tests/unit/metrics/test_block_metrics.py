import numpy as np
import pytest

from _worlds import FACTORISED, blocked, factorised, haar, member, value, world
from scident.errors import NotApplicable
from scident.metrics import block_leak, block_matrix, block_r2
from scident.metrics._blocks import BLOCKS

CELLS = 2400
OFF = [(a, b) for a in BLOCKS for b in BLOCKS if a != b]
ALL = tuple(v for v in block_r2.info.variants)


def inside(z, rng):
    """Rotate and stretch within each block."""
    maps = np.zeros((6, 6))
    for block in BLOCKS:
        here = np.flatnonzero(np.asarray(FACTORISED) == block)
        maps[np.ix_(here, here)] = haar(2, rng) @ np.diag([0.5, 2.0]) @ haar(2, rng)
    return z @ maps


def entries(metric, inputs):
    values = metric.score(inputs, metric.Params(), np.random.default_rng(0))
    return {v.variant: v.value for v in values if not v.missing}


@pytest.mark.parametrize("change", ["identity", "inside"])
def test_blocks_recovered_up_to_a_map_inside_each_have_r2_one_and_leak_nothing(change):
    z = factorised(CELLS)
    inputs = blocked(z, z if change == "identity" else inside(z, np.random.default_rng(0)))
    # kernel ridge on 1,200 cells smooths the tails: 1 - R² is below 0.005 there
    for variant in ALL:
        assert value(block_r2, inputs, variant).value == pytest.approx(1, abs=0.01)
    matrix = entries(block_matrix, inputs)
    for kind in ("within", "within:reverse"):
        for block in BLOCKS:
            assert matrix[f"{kind}:{block}<-{block}"] == pytest.approx(1, abs=0.01)
        for target, source in OFF:
            # independent within conditions: the largest ridge keeps some ten directions for 1,200 cells
            assert matrix[f"{kind}:{target}<-{source}"] == pytest.approx(0, abs=0.04)
    leak = entries(block_leak, inputs)
    assert max(abs(x) for x in leak.values()) < 0.05
    assert leak["within"] == max(abs(leak[f"within:{a}<-{b}"]) for a, b in OFF)


def test_curved_map_inside_blocks_keeps_r2_near_one():
    z = factorised(CELLS, shift=0.5)
    inputs = blocked(z, np.sinh(inside(z, np.random.default_rng(0)) / 2))
    assert value(block_r2, inputs, "pooled").value > 0.97


def test_swapped_blocks_tell_no_more_than_labels():
    """Means of conditions lie so far apart that each block tells the labels it depends on."""
    z = factorised(CELLS, 2, 2, shift=60.0)
    swapped = z[:, [2, 3, 0, 1, 4, 5]]  # the learned block x holds z_tx and the other way round
    inputs = blocked(z, swapped, n_perts=2, n_contexts=2)
    matrix = entries(block_matrix, inputs)
    # z_tx tells context and perturbation, so z_x can be told as well as labels do, up to its noise of variance 1
    assert matrix["labels:x"] > 0.98
    assert matrix["pooled:x<-x"] == pytest.approx(matrix["labels:x"], abs=0.02)
    assert matrix["within:x<-x"] == pytest.approx(0, abs=0.05)
    assert matrix["within:x<-tx"] == pytest.approx(1, abs=0.01)
    assert matrix["pooled:t<-t"] == pytest.approx(1, abs=0.01)
    leak = entries(block_leak, inputs)
    assert leak["within:x<-tx"] == pytest.approx(1, abs=0.05)
    assert leak["within:x<-t"] == pytest.approx(0, abs=0.05)
    assert leak["pooled:x<-tx"] == pytest.approx(1 - matrix["labels:x"], rel=0.2)


def test_rotation_over_all_latents_leaks():
    z = factorised(CELLS)
    inputs = blocked(z, z @ haar(6, np.random.default_rng(1)))
    assert value(block_leak, inputs, "within").value > 0.2
    assert value(block_r2, inputs, "within").value < 0.8


def test_half_of_a_block_is_half_of_its_r2_and_nothing_added():
    z = factorised(CELLS, shift=0.0)
    half = z.copy()
    half[:, [1, 5]] = half[:, [0, 4]]  # the second latents of x and t are lost
    inputs = blocked(z, half)
    assert value(block_r2, inputs, "within").value == pytest.approx(0.5, abs=0.03)
    assert value(block_r2, inputs, "within:reverse").value == pytest.approx(1, abs=0.01)


def test_noise_beside_a_block_lowers_only_the_reverse_direction():
    rng = np.random.default_rng(0)
    z = factorised(CELLS, shift=0.0)
    wide = np.hstack([z, rng.standard_normal((CELLS, 4))])
    inputs = blocked(z, wide, blocks=(*FACTORISED, "x", "x", "t", "t"))
    assert value(block_r2, inputs, "within").value > 0.9
    assert value(block_r2, inputs, "within:reverse").value == pytest.approx(0.5, abs=0.03)


def test_label_lookup_has_pooled_r2_and_none_within():
    z = factorised(CELLS, shift=3.0)
    condition = np.arange(CELLS) % 16
    means = np.stack([z[condition == one].mean(axis=0) for one in range(16)])[condition]
    inputs = blocked(z, means)
    assert value(block_r2, inputs, "pooled").value > 0.7
    assert value(block_r2, inputs, "within").value == pytest.approx(0, abs=0.01)
    assert value(block_r2, inputs, "within:reverse").missing == "constant_block"
    assert value(block_leak, inputs, "within").value == pytest.approx(0, abs=0.01)


def test_table_and_matrix_rest_on_the_same_cells():
    z = factorised(CELLS)
    inputs = blocked(z, z + 0.5 * np.random.default_rng(0).standard_normal(z.shape))
    matrix = entries(block_matrix, inputs)
    mean = (matrix["within:x<-x"] + matrix["within:t<-t"]) / 2
    assert value(block_r2, inputs, "within").value == pytest.approx(mean, abs=1e-12)


def test_standard_error_of_block_r2_is_near_that_of_other_cells():
    rng = np.random.default_rng(0)
    z = factorised(800)
    noisy = z + rng.standard_normal(z.shape)
    said = value(block_r2, blocked(z, noisy), "within")
    found = []
    for _ in range(12):
        pick = np.r_[:400, 400 + rng.integers(25, size=400) * 16 + np.arange(400) % 16]
        found.append(value(block_r2, blocked(z[pick], noisy[pick]), "within").value)
    # sds of 20 and of 12 draws are known to 16 % and 20 %
    assert said.se == pytest.approx(np.std(found, ddof=1), rel=0.7)


@pytest.mark.parametrize("metric", [block_r2, block_matrix, block_leak])
def test_models_and_truths_without_blocks_are_refused(metric):
    z = factorised(400)
    for inputs in (world(z, member(z), n_perts=4, blocks=FACTORISED), blocked(z, z, blocks=("x",) * 6)):
        with pytest.raises(NotApplicable, match="no_blocks"):
            metric.score(inputs, metric.Params(), np.random.default_rng(0))
