import numpy as np
import pytest

from _worlds import gaussian, haar, masks, member, value, world
from scident.errors import NotApplicable
from scident.metrics import seed_mcc, seed_target_jaccard
from scident.metrics._seeds import over_pairs

BOTH = pytest.mark.parametrize("metric", [seed_mcc, seed_target_jaccard])


@pytest.mark.parametrize("variant", ["", "spearman", "within"])
def test_seed_mcc_of_one_run_twice_is_one(variant):
    z = gaussian(400, 4)
    inputs = world(None, member(z), member(-3 * z[:, ::-1], seed=1))
    assert value(seed_mcc, inputs, variant).value == pytest.approx(1, abs=1e-12)


def test_seed_mcc_of_independent_rotations_matches_their_law():
    rng = np.random.default_rng(0)
    z = gaussian(4000, 15)
    runs = [member(z @ haar(15, rng), seed=s) for s in range(5)]
    found = value(seed_mcc, world(None, *runs))
    # 0.522 ± 0.022 a rotation; ten pairs share five rotations: standard error about 0.01
    assert found.value == pytest.approx(0.522, abs=0.03)
    assert found.n == 10


def test_seed_mcc_of_independent_noise_is_chance():
    runs = [member(gaussian(2000, 15, s), seed=s) for s in range(3)]
    # 0.0126 expected at n = 1,000; 45 terms of sd 0.018: standard error 0.003
    assert value(seed_mcc, world(None, *runs)).value == pytest.approx(0.0126, abs=0.01)


def test_seed_mcc_averages_both_directions():
    z = gaussian(400, 4)
    found = value(seed_mcc, world(None, member(z), member(z[:, :2], seed=1)))
    assert found.value == pytest.approx((2 / 4 + 1) / 2, abs=1e-12)


def test_seed_mcc_within_of_label_lookup_is_zero():
    lookup = np.random.default_rng(0).standard_normal((10, 4))[np.arange(600) % 10]
    inputs = world(None, member(lookup), member(lookup, seed=1))
    assert value(seed_mcc, inputs).value == pytest.approx(1)
    assert value(seed_mcc, inputs, "within").value == 0


def test_seed_mcc_within_says_when_conditions_are_too_small():
    z = gaussian(180, 2)
    assert value(seed_mcc, world(None, member(z), member(z, seed=1)), "within").missing == "too_few_cells"


@BOTH
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_seed_metrics_need_two_seeds(metric, seeds):
    z = gaussian(400, 3)
    with pytest.raises(NotApplicable, match="single_seed"):
        value(metric, world(None, member(z), seeds=seeds))


def test_pair_agreement_has_jackknife_error_from_three_seeds():
    z = gaussian(100, 2)
    table = {(0, 1): 0.9, (0, 2): 0.6, (1, 2): 0.3}
    two, three = (world(None, *(member(z, seed=s) for s in range(n))) for n in (2, 3))
    assert over_pairs(two, lambda a, b: table[a.seed, b.seed]) == (0.9, None, 1)
    mean, error, pairs = over_pairs(three, lambda a, b: table[a.seed, b.seed])
    # leaving one of three seeds out leaves one pair: 0.3, 0.6, 0.9
    assert (mean, pairs) == (pytest.approx(0.6), 3)
    assert error == pytest.approx(np.sqrt(2 / 3 * (0.09 + 0 + 0.09)))


def test_target_jaccard_of_one_run_twice_is_one_with_empty_share():
    z = gaussian(400, 4)
    on = np.eye(10, 4)
    order = [2, 0, 3, 1]
    runs = member(z, targets=masks(on)), member(-z[:, order], seed=1, targets=masks(on[:, order]))
    found = value(seed_target_jaccard, world(None, *runs))
    assert found.value == 1
    assert found.note == "score_source=mask, empty_share=0.600"


def test_target_jaccard_of_half_shared_sets():
    z, on, other = gaussian(400, 4), np.zeros((10, 4)), np.zeros((10, 4))
    on[:, [0, 1]] = other[:, [1, 2]] = 1
    runs = member(z, targets=masks(on)), member(z, seed=1, targets=masks(other))
    assert value(seed_target_jaccard, world(None, *runs)).value == pytest.approx(1 / 3)


def test_target_jaccard_of_random_sets_is_its_null():
    rng = np.random.default_rng(0)
    d, m, k = 15, 3, 400
    z = gaussian(2000, d)
    said = [(rng.random((k, d)).argsort(1) < m).astype(float) for _ in range(2)]
    runs = (member(z, seed=s, targets=masks(on)) for s, on in enumerate(said))
    found = value(seed_target_jaccard, world(None, *runs, n_perts=k)).value
    # m / (2d - m) is the ratio of means, 0.111; the mean of ratios for m = 3 is 0.122, sd 0.15 / √400 = 0.008
    assert found == pytest.approx(m / (2 * d - m), abs=0.03)


def test_target_jaccard_uses_trained_perturbations_only():
    z, on, other = gaussian(400, 4), np.zeros((10, 4)), np.zeros((10, 4))
    on[:8, 0] = other[:8, 0] = 1
    other[8:] = 1
    runs = member(z, targets=masks(on)), member(z, seed=1, targets=masks(other))
    found = value(seed_target_jaccard, world(None, *runs, heldout=2))
    assert (found.value, found.n) == (1, 8)


def test_target_jaccard_counts_targets_on_latents_without_partner():
    z, on = gaussian(400, 4), np.zeros((10, 4))
    on[:, [0, 3]] = 1
    runs = member(z, targets=masks(on)), member(z[:, :3], seed=1, targets=masks(on[:, :3]))
    assert value(seed_target_jaccard, world(None, *runs)).value == pytest.approx(1 / 2)


def test_target_jaccard_is_undefined_out_of_domain():
    z = gaussian(600, 3)
    with pytest.raises(NotApplicable, match="split_undefined"):
        value(seed_target_jaccard, world(None, member(z), member(z, seed=1), heldout=4, scope="ood"))


def test_target_jaccard_ignores_latents_that_do_not_vary():
    z, on = gaussian(400, 4), np.zeros((10, 4))
    on[:, [0, 3]] = 1
    seen = np.where(np.arange(4) == 3, 2.0, z)
    runs = (member(seen, seed=s, targets=masks(on)) for s in range(2))
    assert value(seed_target_jaccard, world(None, *runs)).value == 1
