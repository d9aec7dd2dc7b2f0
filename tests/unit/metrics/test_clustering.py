from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score, silhouette_score

from _worlds import blocked, factorised
from scident.metrics import _clustering, _clusters, ami, ari, asw, nmi

METRICS = pytest.mark.parametrize("metric", [nmi, ari, ami])


def scores(metric, inputs):
    return {v.variant: v for v in metric.score(inputs, metric.Params(), np.random.default_rng(0))}


def separated(cells=1600, seed=0):
    """Blocks x and t in four clusters each, one per context and one per perturbation; tx in sixteen."""
    rng = np.random.default_rng(seed)
    corner = 20.0 * np.array([[0, 0], [0, 1], [1, 0], [1, 1.5]])
    perturbation, context = np.arange(cells) % 4, np.arange(cells) // 4 % 4
    mean = np.hstack([corner[context], corner[context] + 5 * corner[perturbation], corner[perturbation]])
    return mean + rng.standard_normal(mean.shape)


@METRICS
def test_clusters_that_are_the_labels_score_one(metric):
    large, small = (scores(metric, blocked(None, separated(cells))) for cells in (1600, 256))
    for variant in ("x:context:kmeans", "t:perturbation:kmeans", "tx:joint:kmeans"):
        assert large[variant].value == pytest.approx(1, abs=1e-9), variant
    for variant in ("x:context", "x:context:0.25", "t:perturbation"):  # 32 cells with 15 neighbours hold together
        assert small[variant].value == pytest.approx(1, abs=1e-9), variant
    assert small["x:context"].note == "n_clusters=4"
    assert large["t:context:kmeans"].value == pytest.approx(0, abs=0.02)
    assert large["x:context:2"].value < 1


@METRICS
def test_separated_world_is_as_expected_in_every_entry(metric):
    """In most of three draws, for a verdict that nothing is there is a test at 5 %."""
    drawn = [scores(metric, blocked(None, separated(seed=seed))) for seed in range(3)]
    verdicts = {name: sum(found[name].value for found in drawn) for name in drawn[0] if name.endswith("as_expected")}
    assert len(verdicts) == len(_clustering.ABOVE)
    assert min(verdicts.values()) >= 2
    assert all(total == 3 for name, total in verdicts.items() if _clustering.ABOVE[tuple(name.split(":")[:2])])


@METRICS
def test_block_of_the_context_told_by_the_perturbation_is_not_as_expected(metric):
    z = separated()
    found = scores(metric, blocked(None, z[:, [4, 5, 2, 3, 0, 1]]))
    verdicts = {name: value.value for name, value in found.items() if name.endswith("as_expected")}
    assert {name for name, value in verdicts.items() if not value} == {
        "x:context:as_expected",
        "x:perturbation:as_expected",
        "t:context:as_expected",
        "t:perturbation:as_expected",
    }


def test_labels_that_depend_on_each_other_do_not_spoil_the_verdict():
    """Pairs of one context and one perturbation are missing, so the context tells something of the perturbation."""
    labels = {"context": np.repeat([0, 0, 1, 1], 200), "perturbation": np.repeat([0, 1, 1, 1], 200)}
    rng = np.random.default_rng(0)
    draws = [_clustering.shuffled(labels, "perturbation", rng) for _ in range(20)]
    for draw in draws:
        assert (np.bincount(draw[labels["context"] == 0]) == [200, 200]).all()
        assert (draw[labels["context"] == 1] == 1).all()
    assert any((draw != labels["perturbation"]).any() for draw in draws)
    # clusters that are the contexts agree with the perturbations, but no better than shuffled ones within contexts do
    measured = [normalized_mutual_info_score(d, labels["context"]) for d in (labels["perturbation"], *draws)]
    assert np.ptp(measured) < 1e-12
    assert measured[0] > 0.2


def test_two_of_three_equal_clusters_merged():
    """I = 0.6365 of H1 = 1.0986 and H2 = 0.6365."""
    label = np.repeat([0, 1, 2], 100)
    h, merged = np.log(3), -(1 / 3) * np.log(1 / 3) - (2 / 3) * np.log(2 / 3)
    expected = 2 * merged / (h + merged)
    assert expected == pytest.approx(0.734, abs=5e-4)
    # contexts 1 and 2 lie in one place
    rng = np.random.default_rng(0)
    context = np.arange(1200) // 4 % 3
    z = np.hstack([50.0 * np.minimum(context, 1)[:, None] + rng.standard_normal((1200, 1)), rng.random((1200, 2))])
    inputs = blocked(None, z, n_contexts=3, blocks=("x", "tx", "t"))
    assert normalized_mutual_info_score(label, np.minimum(label, 1)) == pytest.approx(expected)
    kmeans = _clusters.kmeans(_clustering.latents(inputs)[0]["x"], 2)
    assert normalized_mutual_info_score(context[inputs.score], kmeans) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", [ari, ami])
def test_shuffled_labels_score_zero(metric):
    rng = np.random.default_rng(0)
    z = separated(8000)[rng.permutation(8000)]
    found = scores(metric, blocked(None, z))
    for name, value in found.items():
        if not name.endswith("as_expected"):
            assert value.value == pytest.approx(0, abs=0.01), name
    assert metric.info.no_skill == 0


def test_leiden_repeats_and_finer_resolutions_give_more_clusters():
    z = separated()[:800, :2]
    first = _clusters.leiden(z)
    _clusters.leiden.__wrapped__(separated()[800:, :2])  # another call in between leaves no trace
    again = _clusters.leiden.__wrapped__(z)
    assert all(np.array_equal(first[r], again[r]) for r in _clusters.RESOLUTIONS)
    counts = [first[r].max() + 1 for r in _clusters.RESOLUTIONS]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_neighbour_graph_joins_each_cell_to_its_nearest_once():
    z = np.arange(40.0)[:, None] ** 1.01
    edges = _clusters._edges(z)
    assert (edges[:, 0] < edges[:, 1]).all()
    assert len(np.unique(edges, axis=0)) == len(edges)
    degree = np.bincount(edges.ravel(), minlength=40)
    assert degree.min() == 15
    assert (0, 1) in set(map(tuple, edges))


def test_model_without_blocks_has_its_whole_latent():
    z = separated()
    inputs = blocked(None, z)
    found = scores(ami, replace(inputs, members=(replace(inputs.member, blocks=None),)))
    assert found["all:context"].value > 0.5
    assert {v.missing for name, v in found.items() if not name.startswith("all")} == {"no_blocks"}


def test_dead_block_and_single_context_are_refused():
    z = factorised(800, n_contexts=1)
    z[:, [4, 5]] = 3.0
    found = scores(ami, blocked(None, z, n_contexts=1))
    assert found["t:perturbation"].missing == "constant_block"
    assert found["x:context"].missing == "one_context"
    assert not found["x:perturbation"].missing


def test_silhouette_equals_the_reference():
    z, inputs = factorised(800), blocked(None, factorised(800))
    found = scores(asw, inputs)
    sd = z[inputs.fit].std(axis=0)
    here = z[inputs.score]
    context = np.arange(800)[inputs.score] // 4 % 4
    for variant, latents in (("all:context", here / sd), ("x:context:unscaled", here[:, :2])):
        expected = (silhouette_score(latents, context) + 1) / 2
        assert found[variant].value == pytest.approx(expected, abs=1e-5)


def test_silhouette_of_shuffled_labels_is_one_half_and_of_far_clusters_one():
    rng = np.random.default_rng(0)
    distance = np.abs(np.subtract.outer(*[rng.standard_normal(600)] * 2)).astype(np.float32)
    assert asw.silhouette(distance, rng.integers(3, size=600)) == pytest.approx(0.5, abs=0.02)
    label = np.repeat([0, 1], 300)
    far = distance + 1e4 * (label[:, None] != label[None, :]).astype(np.float32)
    assert asw.silhouette(far, label) == pytest.approx(1, abs=1e-3)


def test_silhouette_counts_a_cell_alone_with_its_label_as_one_half():
    place = np.array([0.0, 1.0, 10.0])
    distance = np.abs(np.subtract.outer(place, place)).astype(np.float32)
    expected = np.mean([(10 - 1) / 10, (9 - 1) / 9, 0])
    assert asw.silhouette(distance, np.array([0, 0, 1])) == pytest.approx((expected + 1) / 2, abs=1e-6)


def test_each_of_few_points_is_its_own_cluster():
    points = np.array([[0.0, 1.0], [2.0, 0.0]])
    found = _clusters.kmeans(points[[0, 1, 1, 0, 1]], 4)
    assert found.tolist() in ([0, 1, 1, 0, 1], [1, 0, 0, 1, 0])
