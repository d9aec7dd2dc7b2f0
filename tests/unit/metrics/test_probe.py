import numpy as np
import pytest

from _worlds import gaussian, labels, member, value, world
from scident.errors import NotApplicable
from scident.metrics import _probes, probe_z_perturbation


def test_probe_of_noise_is_zero():
    found = [value(probe_z_perturbation, world(None, member(gaussian(2000, 5, s)))).value for s in range(5)]
    # balanced accuracy 0.1 on 1,000 cells: sd 0.0095 / 0.9; standard error of five 0.005
    assert np.mean(found) == pytest.approx(0, abs=0.02)


def test_probe_of_one_hot_label_is_one():
    onehot = np.eye(10)[labels(2000, 10)[2]]
    found = value(probe_z_perturbation, world(None, member(onehot)))
    assert (found.value, found.se) == (1, 0)


def test_probe_of_shuffled_label_is_zero():
    onehot = np.eye(10)[np.random.default_rng(0).permutation(labels(2000, 10)[2])]
    # one draw: sd 0.0095 / 0.9
    assert value(probe_z_perturbation, world(None, member(onehot))).value == pytest.approx(0, abs=0.035)


def test_excess_accuracy_weighs_classes_equally():
    label, predicted = np.array([0] * 90 + [1] * 10), np.zeros(100, int)
    weights = np.ones((1, 100))
    assert _probes.excess_accuracy(label, predicted, 2, weights)[0] == 0
    assert _probes.excess_accuracy(label, label, 2, weights)[0] == 1
    assert _probes.excess_accuracy(label, 1 - label, 2, weights)[0] == -1


def test_probe_ignores_labels_it_never_saw():
    code = labels(2000, 10)[2]
    inputs = world(None, member(np.eye(10)[code]))
    inputs.obs.loc[(code == 9) & (inputs.obs["part"] == "fit"), "part"] = "train"
    seen = type(inputs)(**{**vars(inputs), "fit": np.flatnonzero(inputs.obs["part"] == "fit")})
    found = value(probe_z_perturbation, seen)
    assert (found.value, found.n) == (1, 900)


def test_probe_needs_two_perturbations():
    with pytest.raises(NotApplicable, match="one_perturbation"):
        value(probe_z_perturbation, world(None, member(gaussian(200, 3)), n_perts=1))
