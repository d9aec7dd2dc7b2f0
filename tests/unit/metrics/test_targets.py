import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from _worlds import gaussian, masks, member, sparse_targets, value, world
from scident.errors import NonFiniteError, NotApplicable
from scident.metrics import target_auprc, target_f1, target_precision, target_recall
from scident.metrics._targets import aligned, targets_of
from scident.types import Targets

ALL = (target_auprc, target_f1, target_precision, target_recall)
K, D = 100, 15


def scored(truth, said, *, signs=None, heldout=0, scope="iid", cells=1000, seed=0):
    """Inputs of a model that recovered the latents up to `signs` and says `said` about targets."""
    z = gaussian(cells, truth.shape[1], seed)
    seen = z if signs is None else z * signs
    return world(z, member(seen, targets=masks(said)), n_perts=len(truth), heldout=heldout, truth=truth, scope=scope)


@pytest.mark.parametrize("metric", ALL)
def test_target_metrics_of_exact_targets_are_one(metric):
    truth = sparse_targets(20, 5, np.random.default_rng(0))
    assert value(metric, scored(truth, truth), "corrected").value == 1


@pytest.mark.parametrize("metric", ALL)
def test_target_metrics_follow_permuted_and_flipped_latents(metric):
    truth = sparse_targets(20, 5, np.random.default_rng(0))
    z, order = gaussian(400, 5), [3, 0, 4, 1, 2]
    inputs = world(z, member(-2 * z[:, order], targets=masks(truth[:, order])), n_perts=20, truth=truth)
    assert value(metric, inputs, "corrected").value == 1


def test_target_f1_signed_matching_loses_half_of_flipped_latents():
    found = {"corrected": [], "released": []}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = sparse_targets(K, D, rng)
        inputs = scored(truth, truth, signs=rng.choice([-1.0, 1.0], D), scope="insample", seed=seed)
        for variant, values in found.items():
            values.append(value(target_f1, inputs, variant).value)
    assert found["corrected"] == [1.0] * 20
    # half of 15 signs are positive, sd 0.13 a world: standard error 0.03 over 20 worlds
    assert np.mean(found["released"]) == pytest.approx(0.54, abs=0.1)


@pytest.mark.parametrize(
    ("left", "precision", "recall", "f1"), [(0, 1.0, 0.80, 0.89), (1, 0.42, 1.0, 0.59)], ids=["zeros", "ones"]
)
def test_released_targets_count_rows_without_training_cells(left, precision, recall, f1):
    truth = sparse_targets(K, D, np.random.default_rng(0))
    said = truth.astype(float)
    said[80:] = left
    inputs = scored(truth, said, heldout=20, scope="insample")
    # numbers of the specification, rounded to two digits; the base rate varies by 0.005 between worlds
    for metric, expected in ((target_precision, precision), (target_recall, recall), (target_f1, f1)):
        assert value(metric, inputs, "released").value == pytest.approx(expected, abs=0.03)
        assert value(metric, inputs, "corrected").value == 1


def test_random_two_targets_score_the_base_rate():
    rng = np.random.default_rng(0)
    f1, precision = [], []
    for seed in range(10):
        truth, said = sparse_targets(K, D, rng), np.zeros((K, D))
        np.put_along_axis(said, rng.random((K, D)).argsort(1)[:, :2], 1, axis=1)
        inputs = scored(truth, said, seed=seed)
        f1.append(value(target_f1, inputs, "corrected").value)
        precision.append(value(target_precision, inputs, "corrected").value)
    # 200 entries named of which 13 % hit: sd 0.024, standard error 0.008 over ten worlds
    assert np.mean(f1) == pytest.approx(0.13, abs=0.025)
    assert np.mean(precision) == pytest.approx(0.13, abs=0.025)


def test_all_ones_score_precision_of_base_rate_and_full_recall():
    truth = sparse_targets(K, D, np.random.default_rng(0))
    inputs = scored(truth, np.ones((K, D)))
    rate = truth.mean()
    assert rate == pytest.approx(0.13, abs=0.01)  # two targets of 15 on average
    assert value(target_precision, inputs, "corrected").value == pytest.approx(rate)
    assert value(target_recall, inputs, "corrected").value == 1
    assert value(target_f1, inputs, "corrected").value == pytest.approx(2 * rate / (1 + rate))
    assert value(target_auprc, inputs, "corrected").value == pytest.approx(rate)


def test_random_scores_have_the_base_rate_as_auprc():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(10):
        truth = sparse_targets(K, D, rng)
        found.append(value(target_auprc, scored(truth, rng.random((K, D)), seed=seed), "corrected").value)
    assert np.mean(found) == pytest.approx(0.135, abs=0.012)  # 0.130 ± 0.012 a world


def test_no_target_named_scores_zero():
    truth = sparse_targets(20, 5, np.random.default_rng(0))
    inputs = scored(truth, np.zeros(truth.shape))
    assert [value(m, inputs, "corrected").value for m in ALL[1:]] == [0, 0, 0]


def test_factor_without_partner_has_lowest_score_and_is_off():
    truth = sparse_targets(20, 5, np.random.default_rng(0))
    z = gaussian(400, 5)
    said = Targets(np.full((20, 4), 0.7) + 0.1 * truth[:, :4], truth[:, :4], "mask")
    found = aligned(world(z, member(z[:, :4], targets=said), n_perts=20, truth=truth))
    assert (found.score[:, 4] == 0.7).all()
    assert not found.on[:, 4].any()
    np.testing.assert_array_equal(found.on[:, :4], truth[:, :4])


def test_latent_that_does_not_vary_has_no_targets():
    truth = sparse_targets(20, 5, np.random.default_rng(0))
    z = gaussian(400, 5)
    seen = np.where(np.arange(5) == 2, 1.0, z)
    said = targets_of(*_with_member(z, seen, truth))
    assert (said.score[:, 2] == said.score.min()).all()
    assert not said.on[:, 2].any()


def _with_member(z, seen, truth):
    inputs = world(z, member(seen, targets=masks(truth)), n_perts=len(truth), truth=truth)
    return inputs, inputs.member


@pytest.mark.parametrize("control", [True, False])
def test_derived_targets_find_large_shifts(control):
    rng = np.random.default_rng(0)
    truth = sparse_targets(K, D, rng)
    truth[0] = False
    label = np.arange(8000) % K
    z = rng.standard_normal((8000, D)) + (4 * truth * rng.choice([-1, 1], truth.shape))[label]
    inputs = world(z, member(3 * z), n_perts=K, truth=truth, control=control)
    found = value(target_f1, inputs, "corrected")
    # 40 cells: a shift of 4 sd is never missed; false targets are more than 5 % because the reference's own error
    # is shared by all perturbations
    assert found.value > 0.9
    assert "score_source=derived" in found.note
    assert f"base_rate={truth.mean():.3f}" in found.note
    assert value(target_auprc, inputs, "corrected").value > 0.97


def test_derived_score_is_standardised_distance_from_controls():
    rng = np.random.default_rng(0)
    shift = np.array([0.0, 2.0, 0.2])
    label = np.arange(6000) % 3
    z = 5 * (rng.standard_normal((6000, 1)) + shift[label][:, None])
    inputs = world(z, member(z), n_perts=3, control=True)
    found = targets_of(inputs, inputs.member)
    # difference of two means of 1,000 cells: standard error 0.045
    np.testing.assert_allclose(found.score[:, 0], shift, atol=0.15)
    # 0.2 is significant but below the smallest effect of 0.5
    assert found.on[:, 0].tolist() == [False, True, False]


def test_derived_targets_of_label_lookup_are_finite():
    shift = np.random.default_rng(0).standard_normal((10, 4))
    z = shift[np.arange(600) % 10]
    inputs = world(z, member(z), n_perts=10)
    found = targets_of(inputs, inputs.member)
    assert np.isfinite(found.score).all()
    assert found.on.any()


def test_derived_targets_of_unseen_perturbations_are_off():
    z = gaussian(600, 3)
    inputs = world(z, member(z), n_perts=10, heldout=2)
    found = targets_of(inputs, inputs.member)
    assert not found.score[8:].any()
    assert not found.on[8:].any()


def test_released_variant_exists_on_insample_only():
    truth = sparse_targets(20, 5, np.random.default_rng(0))
    for scope, expected in (("iid", {"corrected"}), ("insample", {"corrected", "released"})):
        values = target_f1.score(scored(truth, truth, scope=scope), target_f1.Params(), np.random.default_rng(0))
        assert {v.variant for v in values} == expected == set(target_f1.info.variants_on(scope))


@pytest.mark.parametrize("metric", ALL)
def test_target_metrics_refuse_what_is_undefined(metric):
    z = gaussian(400, 5)
    truth = sparse_targets(20, 5, np.random.default_rng(0))
    with pytest.raises(NotApplicable, match="no_truth"):
        value(metric, world(None, member(z), n_perts=20))
    with pytest.raises(NotApplicable, match="split_undefined"):
        value(metric, world(z, member(z), n_perts=20, heldout=6, truth=truth, scope="ood"))
    with pytest.raises(NotApplicable, match="no_targets"):
        value(metric, world(z, member(z), n_perts=20, truth=np.zeros_like(truth)))


def test_target_metrics_fail_on_nan_scores():
    truth = sparse_targets(20, 5, np.random.default_rng(0))
    said = Targets(np.full(truth.shape, np.nan), truth, "mask")
    z = gaussian(400, 5)
    with pytest.raises(NonFiniteError, match="nonfinite_targets"):
        value(target_auprc, world(z, member(z, targets=said), n_perts=20, truth=truth))


def test_derived_targets_of_noise_score_as_random_scores_do():
    """The match is learned on other cells than the means, so noise finds no targets."""
    rng = np.random.default_rng(0)
    excess = []
    for _ in range(40):
        mask = sparse_targets(K, D, rng)
        z = rng.normal(size=(2000, D)) + 5 * mask[np.arange(2000) % K]
        noise = world(z, member(rng.normal(size=z.shape)), n_perts=K, truth=mask)
        excess.append(
            value(target_auprc, noise, "corrected").value - average_precision_score(mask.ravel(), rng.random(mask.size))
        )
    assert abs(np.mean(excess)) < 3 * np.std(excess, ddof=1) / np.sqrt(len(excess))
