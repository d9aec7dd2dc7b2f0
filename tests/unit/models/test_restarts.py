"""Several starts: all are trained, the best validation score stays, the first is what one start alone would be."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from _tiny import member, params_of, world
from scident.engine import trainer
from scident.models import _restarts
from scident.models.vae import VAE

STARTS = 3


@pytest.fixture(scope="module")
def place():
    return world()


def one(place, seed=0, starts=STARTS, key="", **more):
    params = params_of("vae", starts=starts, learning_rate=1e-2, batch_size=32, **more)
    return member(place, params, seed, name=f"r0.g0.s{seed}", key=key)


@pytest.fixture
def trained(monkeypatch):
    """Every attempt that is trained, as the trainer leaves it."""
    found = []

    def watch(network, running, *rest):
        found.extend(running)
        trainer.train(network, running, *rest)

    monkeypatch.setattr("scident.models._batched.train", watch)
    return found


def scores(attempts):
    return [[value for _, name, value in a.history if name == "val_nelbo"][-1] for a in attempts]


def test_the_start_that_validates_best_is_kept_and_said(place, trained):
    found = VAE.fit_members([one(place, seed, epochs=4) for seed in (0, 1)])
    assert len(trained) == 2 * STARTS
    for k, fitted in enumerate(found):
        own = trained[STARTS * k : STARTS * (k + 1)]
        chosen = int(np.argmin(scores(own)))
        assert fitted.resolved["chosen_start"] == chosen
        assert [fitted.resolved[f"start_nelbo_{i}"] for i in range(STARTS)] == scores(own)
        assert fitted.history == own[chosen].history
        for name, value in own[chosen].state.arrays().items():
            np.testing.assert_array_equal(fitted.model.state[name], value)
    assert found[0].epochs == 4
    assert found[0].epochs_run == 4 * STARTS


def test_starts_differ_and_the_first_is_the_only_start(place, trained):
    VAE.fit_members([one(place)])
    VAE.fit_members([one(place, starts=1)])
    *several, alone = trained
    weights = [a.state.parameters["mean.weight"].numpy() for a in several]
    assert all(not np.allclose(a, b) for a, b in pairwise(weights))
    # one member and three round differently
    np.testing.assert_allclose(alone.state.parameters["mean.weight"].numpy(), weights[0], atol=1e-4)


def test_one_start_says_nothing(place):
    (fitted,) = VAE.fit_members([one(place, starts=1)])
    assert not {name for name in fitted.resolved if "start" in name}


@pytest.mark.parametrize("lost", [0, 1])
def test_a_start_that_fails_is_never_chosen(place, trained, monkeypatch, lost):
    real = trainer.Loop.retire

    def retire(loop):
        loop.members[lost].failure = "nonfinite_loss"
        return real(loop)

    monkeypatch.setattr(trainer.Loop, "retire", retire)
    (fitted,) = VAE.fit_members([one(place, starts=2)])
    assert fitted.model is not None
    assert fitted.resolved["chosen_start"] == 1 - lost


def test_a_member_fails_when_all_its_starts_do(place):
    (fitted,) = VAE.fit_members([replace(one(place), params=wild(place))])
    assert fitted.model is None
    assert fitted.reason == "nonfinite_loss"


def wild(place):
    return one(place).params.model_copy(update={"learning_rate": 1e30})


def test_starts_have_checkpoints_of_their_own(place, tmp_path):
    first, again = (VAE.fit_members([one(place, key="k")], tmp_path)[0] for _ in range(2))
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["k", "k-start1", "k-start2"]
    assert again.epochs_run == 0
    assert again.resolved == first.resolved
    np.testing.assert_array_equal(again.model.embed(place.cells), first.model.embed(place.cells))


def test_seeds_of_starts_are_children_of_the_members():
    spawned = [a.seed for a in _restarts.attempts(one(world()), 4)]
    keys = {tuple(seed.spawn_key) for seed in spawned}
    assert len(keys) == 4
    assert {seed.entropy for seed in spawned} == {0}
