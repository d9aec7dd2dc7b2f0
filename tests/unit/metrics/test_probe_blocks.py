from dataclasses import replace

import numpy as np
import pytest

from _worlds import blocked, factorised, value
from scident.errors import NotApplicable
from scident.metrics import probe_blocks
from scident.metrics.probe_blocks import info


def labels(cells):
    """Return the codes of perturbation and context of `factorised`: four each."""
    return np.arange(cells) % 4, np.arange(cells) // 4 % 4


def scores(inputs, seed=0):
    return {v.variant: v for v in probe_blocks.score(inputs, probe_blocks.Params(), np.random.default_rng(seed))}


def test_probes_of_noise_are_zero():
    found = []
    for seed in range(4):
        z = np.random.default_rng(seed).standard_normal((3200, 6))
        found += [v.value for v in scores(blocked(None, z)).values()]
    # balanced accuracy 0.25 on 1,600 cells: sd 0.0108 / 0.75 each; standard error of 48, not all independent: 0.003
    assert np.mean(found) == pytest.approx(0, abs=0.01)
    assert np.abs(found).max() < 0.06


def test_probes_of_one_hot_labels_are_one_and_the_other_label_is_not_seen():
    perturbation, context = labels(3200)
    z = np.hstack([np.eye(4)[context], np.eye(4)[perturbation], np.eye(4)[perturbation]])
    found = scores(blocked(None, z, blocks=("x",) * 4 + ("tx",) * 4 + ("t",) * 4))
    for variant in ("x:context", "x:context|perturbation", "t:perturbation", "t:perturbation|context"):
        assert (found[variant].value, found[variant].se) == (1, 0)
    for variant in ("x:perturbation", "x:perturbation|context", "t:context", "t:context|perturbation"):
        # constant within strata and independent across them
        assert found[variant].value == pytest.approx(0, abs=0.02)


def test_probes_of_shuffled_labels_are_zero():
    rng = np.random.default_rng(0)
    z = np.hstack([np.eye(4)[rng.permutation(labels(3200)[1])], rng.standard_normal((3200, 2))])
    found = value(probe_blocks, blocked(None, z, blocks=("x", "x", "x", "x", "tx", "t")), "x:context")
    # sd 0.0108 / 0.75 = 0.0144
    assert found.value == pytest.approx(0, abs=0.05)
    assert found.n == 1600


def test_conditional_probe_sees_what_depends_on_the_other_label():
    """The sign of the latent is the exclusive or of two labels: nothing alone, everything given the other one."""
    rng = np.random.default_rng(0)
    perturbation, context = np.arange(3200) % 2, np.arange(3200) // 2 % 2
    sign = 2.0 * (perturbation != context) - 1
    z = np.stack([rng.standard_normal(3200), 5 * sign + rng.standard_normal(3200), rng.standard_normal(3200)], axis=1)
    found = scores(blocked(None, z, n_perts=2, n_contexts=2, blocks=("x", "tx", "t")))
    # balanced accuracy of two classes on 1,600 cells: sd 0.0125 / 0.5
    assert found["tx:context"].value == pytest.approx(0, abs=0.1)
    assert found["tx:context|perturbation"].value == pytest.approx(1, abs=0.001)
    assert found["x:context|perturbation"].value == pytest.approx(0, abs=0.1)


def test_standard_error_of_a_conditional_probe_is_that_of_a_mean_over_strata():
    z = factorised(3200)
    found = scores(blocked(None, z))["tx:perturbation|context"]

    # balanced accuracy near 0.9 on 400 cells of each of four strata: at most 0.5 / 20 / 0.75 / 2
    assert 0.002 < found.se < 0.017


def test_one_context_leaves_the_probes_of_the_perturbation():
    z = factorised(800, n_contexts=1)
    found = scores(blocked(None, z, n_contexts=1))
    assert found["x:context"].missing == found["t:context|perturbation"].missing == "one_context"
    assert found["t:perturbation"].value > 0.3
    assert list(found) == list(info.variants)


def test_model_without_blocks_is_refused():
    z = factorised(400)
    inputs = blocked(None, z)
    with pytest.raises(NotApplicable, match="no_blocks"):
        scores(replace(inputs, members=(replace(inputs.member, blocks=None),)))
