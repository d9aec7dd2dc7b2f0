"""Which members share a stack, and what comes back."""

import numpy as np
import pytest

from _tiny import N_LATENTS, member, params_of, world
from scident.engine import trainer
from scident.errors import ScidentError
from scident.models import untrained, vae
from scident.models.svae_plus import SVAEPlus


@pytest.fixture(scope="module")
def place():
    return world()


@pytest.fixture
def stacks(monkeypatch):
    """Sizes of the stacks that are trained."""
    sizes = []

    def watch(network, running, *rest):
        sizes.append(len(running))
        trainer.train(network, running, *rest)

    monkeypatch.setattr("scident.models._batched.train", watch)
    return sizes


def several(place, *settings, use="svae_plus"):
    return [member(place, params_of(use, **s), i, name=f"r0.g{i}.s0") for i, s in enumerate(settings)]


def test_members_that_differ_along_the_member_axis_share_a_stack(place, stacks):
    found = SVAEPlus.fit_members(
        several(place, {}, {"penalty": 100.0}, {"epochs": 1}, {"learning_rate": 0.1}, {"patience": 1})
    )
    assert stacks == [5]
    assert [f.epochs for f in found] == [2, 2, 1, 2, 2]


def test_members_of_other_shapes_train_in_turn_and_come_back_in_order(place, stacks):
    larger = world(cells=50)
    members = [*several(place, {}, {"width": 4}, {}), member(larger, params_of("svae_plus"), 9, name="r1.g0.s0")]
    found = SVAEPlus.fit_members(members)
    assert sorted(stacks) == [1, 1, 2]
    assert [f.model.state["mean.weight"].shape[1] for f in found] == [8, 4, 8, 8]
    for given, got in zip(members, found, strict=True):
        (alone,) = SVAEPlus.fit_members([given])
        # one member and two round differently
        np.testing.assert_allclose(got.model.state["shift"], alone.model.state["shift"], atol=1e-4)


def test_worlds_are_held_once_however_many_members_share_them(place, monkeypatch):
    held = []
    from scident.models import _batched

    real = _batched.Cells

    def watch(counts, *rest):
        held.append(len(counts))
        return real(counts, *rest)

    monkeypatch.setattr(_batched, "Cells", watch)
    monkeypatch.setattr(_batched.BatchedModel, "finish", lambda self, train: None)
    other = world(1)
    vae.VAE.fit_members([*several(place, {}, {}, use="vae"), member(other, params_of("vae"), 5, name="r1.g0.s0")])
    assert held == [4]


def test_a_member_that_fails_says_why(place):
    good, bad = SVAEPlus.fit_members(several(place, {}, {"learning_rate": 1e30}))
    assert good.model is not None
    assert bad.model is None
    assert bad.reason == "nonfinite_loss"
    assert bad.history


def test_fit_of_one_that_fails_raises(place):
    model = SVAEPlus(params_of("svae_plus", learning_rate=1e30), N_LATENTS)
    with pytest.raises(ScidentError, match="nonfinite_loss"):
        model.fit(place.train, place.val, np.random.default_rng(0))


def test_a_member_whose_finish_raises_fails_alone(place, monkeypatch):
    def finish(self, train):
        if self.params.penalty == 100:
            raise RuntimeError("no luck")

    monkeypatch.setattr(SVAEPlus, "finish", finish)
    good, bad = SVAEPlus.fit_members(several(place, {}, {"penalty": 100.0}))
    assert good.model is not None
    assert (bad.model, bad.reason) == (None, "exception: RuntimeError: no luck")
    assert bad.epochs == 2
    assert bad.history


def test_epochs_that_a_checkpoint_held_are_not_counted_as_run(place, tmp_path):
    first, second = (member(place, params_of("vae"), seed, name=f"r0.g0.s{seed}", key=f"k{seed}") for seed in (0, 1))
    (alone,) = vae.VAE.fit_members([first], tmp_path)
    assert (alone.epochs, alone.epochs_run) == (2, 2)
    kept, added = vae.VAE.fit_members([first, second], tmp_path)
    assert (kept.epochs, kept.epochs_run) == (2, 0)
    assert (added.epochs, added.epochs_run) == (2, 2)


def test_history_follows_validation_score_its_parts_and_the_mask(place):
    (found,) = SVAEPlus.fit_members(several(place, {"epochs": 3}))
    names = {"val_nelbo", "val_reconstruction", "val_kl", "mask_density"}
    assert {(epoch, name) for epoch, name, _ in found.history} == {(e, n) for e in range(3) for n in names}
    first = {name: value for epoch, name, value in found.history if epoch == 0}
    assert first["val_nelbo"] == pytest.approx(first["val_reconstruction"] + first["val_kl"], rel=1e-5)
    assert first["mask_density"] == 1


def test_training_lowers_the_validation_score(place):
    (found,) = vae.VAE.fit_members(several(place, {"epochs": 40, "learning_rate": 1e-2}, use="vae"))
    scores = [value for _, name, value in found.history if name == "val_nelbo"]
    # a score is one draw of 40 cells: successive epochs differ by less than a nat
    assert scores[-1] < scores[0] - 3


def test_untrained_is_the_first_state(place):
    (found,) = untrained.Untrained.fit_members([member(place, params_of("untrained"))])
    assert (found.epochs, found.history) == (0, [])
    assert not found.model.state["encoder.0.mean"].any()
    with pytest.raises(ValueError, match="epochs"):
        untrained.Params(epochs=1)
