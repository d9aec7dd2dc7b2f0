"""Members trained together are the members trained alone: the promise of the engine."""

import numpy as np
import pytest
import torch

from _tiny import CPU, N_LATENTS, progress, world
from scident.engine.batches import Cells
from scident.engine.trainer import Schedule, train
from scident.models import svae_plus

GENES, PERTURBATIONS, BATCH = 20, 6, 16
MEMBERS = {
    "slow": {"seed": 1, "learning_rate": 1e-3, "penalty": 5.0, "warmup_epochs": 2},
    "fast": {"seed": 2, "learning_rate": 5e-3, "penalty": 40.0, "warmup_epochs": 1},
    "other world": {"seed": 3, "learning_rate": 5e-3, "penalty": 1.0, "warmup_epochs": 10},
}


@pytest.fixture(scope="module")
def worlds():
    return [world(seed, genes=GENES, perturbations=PERTURBATIONS) for seed in (0, 1)]


def trained(worlds, names, epochs=2, dtype=torch.float64):
    """Train for `epochs` of ten steps each; the last member lives in another world."""
    blocks = [b for w in worlds for b in (w.train, w.val)]
    codes = [b.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64) for b in blocks]
    data = Cells([b.X for b in blocks], codes, CPU, dtype)
    network = svae_plus.SVAEPlusNetwork(svae_plus.Params(width=16), GENES, N_LATENTS, PERTURBATIONS)
    n_train, n_val = worlds[0].train.n_obs, worlds[0].val.n_obs
    assert n_train // BATCH == 10
    members = []
    for name in names:
        setting = MEMBERS[name]
        hyper = {n: setting[n] for n in ("penalty", "warmup_epochs")}
        hyper |= {"beta": 1.0, "scale": n_train, "n_train": n_train}
        first = 2 if name == "other world" else 0
        rows = (int(data.offsets[first]), int(data.offsets[first + 1]))
        members.append(
            progress(
                network, hyper, setting["seed"], dtype, rows, epochs=epochs, learning_rate=setting["learning_rate"]
            )
        )
    train(network, members, data, n_train, n_val, Schedule(BATCH))
    return members


def largest_difference(a, b):
    mine, other = a.state.parameters | a.state.buffers, b.state.parameters | b.state.buffers
    return max(float((mine[n] - other[n]).abs().max()) for n in mine)


# Matrix kernels may sum in another order for one member than for many, so equality is to rounding: double precision
# keeps 20 steps within 1e-12 here; 1e-9 leaves room for other processors.
TOLERANCE = 1e-9


def test_members_together_equal_each_alone_over_twenty_steps(worlds):
    together = trained(worlds, MEMBERS)
    for name, member in zip(MEMBERS, together, strict=True):
        (alone,) = trained(worlds, [name])
        assert largest_difference(member, alone) < TOLERANCE
        np.testing.assert_allclose([v for *_, v in member.history], [v for *_, v in alone.history], rtol=TOLERANCE)


def test_adding_a_member_changes_no_other(worlds):
    two, three = trained(worlds, ["fast", "slow"]), trained(worlds, ["other world", "fast", "slow"])
    assert all(largest_difference(a, b) < TOLERANCE for a, b in zip(two, three[1:], strict=True))


def test_members_that_differ_in_one_hyperparameter_part_ways(worlds):
    slow, fast, other = trained(worlds, MEMBERS)
    assert largest_difference(slow, fast) > 1e-3
    assert largest_difference(fast, other) > 1e-3


def test_the_same_members_together_are_equal_to_the_bit(worlds):
    once, again = (trained(worlds, MEMBERS, dtype=torch.float32) for _ in range(2))
    assert all(largest_difference(a, b) == 0 for a, b in zip(once, again, strict=True))
    assert [m.history for m in once] == [m.history for m in again]


@pytest.mark.parametrize("bad", [{"learning_rate": 1e30}, {"penalty": float("nan")}])
def test_a_member_that_diverges_leaves_the_others_alone(worlds, bad, monkeypatch):
    kept = trained(worlds, ["slow", "fast"], epochs=3)
    monkeypatch.setitem(MEMBERS, "bad", MEMBERS["other world"] | bad)
    slow, lost, fast = trained(worlds, ["slow", "bad", "fast"], epochs=3)
    assert lost.failure == "nonfinite_loss"
    assert not slow.failure
    assert largest_difference(slow, kept[0]) < TOLERANCE
    assert largest_difference(fast, kept[1]) < TOLERANCE
