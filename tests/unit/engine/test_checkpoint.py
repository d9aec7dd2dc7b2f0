import logging

import numpy as np
import pytest

from _tiny import member, params_of, world
from scident.engine import checkpoint, trainer
from scident.models.svae_plus import SVAEPlus

EPOCHS = 5


@pytest.fixture(scope="module")
def place():
    return world()


@pytest.fixture
def often(monkeypatch):
    """Save after every epoch."""
    monkeypatch.setattr("scident.models._batched.train", lambda *a: trainer.train(*a, save_every_s=-1))


def members(place, *seeds, epochs=EPOCHS):
    params = params_of("svae_plus", epochs=epochs, learning_rate=5e-3)
    return [member(place, params, s, name=f"r0.g0.s{s}", key=f"key{s}") for s in seeds]


def equal(a, b):
    assert a.epochs == b.epochs
    assert a.history == b.history
    assert a.model.state.keys() == b.model.state.keys()
    assert all(np.array_equal(a.model.state[n], b.model.state[n]) for n in a.model.state)


def killed_after(monkeypatch, epoch):
    """Let the process die right after the checkpoint of `epoch` was written."""
    real = checkpoint.Store.save

    def save(store, positions, running):
        real(store, positions, running)
        if any(m.epoch == epoch for m in running):
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Store, "save", save)


def uneven(place):
    """Two members of which one stops early."""
    return members(place, 1) + members(place, 2, epochs=2)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_run_equals_an_undisturbed_one_to_the_bit(place, tmp_path, often, monkeypatch, epoch):
    undisturbed = SVAEPlus.fit_members(uneven(place))
    with monkeypatch.context() as patch:
        killed_after(patch, epoch)
        with pytest.raises(KeyboardInterrupt):
            SVAEPlus.fit_members(uneven(place), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["key1.pt", "key2.pt"]
    for a, b in zip(undisturbed, SVAEPlus.fit_members(uneven(place), tmp_path), strict=True):
        equal(a, b)


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_rotation_and_a_falling_rate_are_resumed_too(place, tmp_path, often, monkeypatch, epoch):
    params = params_of("svae_plus", epochs=6, rotate_after=2, decay=0.5, mask="expected")
    both = [member(place, params, s, name=f"r0.g0.s{s}", key=f"key{s}") for s in (1, 2)]
    undisturbed = SVAEPlus.fit_members(both)
    with monkeypatch.context() as patch:
        killed_after(patch, epoch)
        with pytest.raises(KeyboardInterrupt):
            SVAEPlus.fit_members(both, tmp_path)
    for a, b in zip(undisturbed, SVAEPlus.fit_members(both, tmp_path), strict=True):
        equal(a, b)


def test_finished_members_are_not_trained_again(place, tmp_path, monkeypatch):
    first = SVAEPlus.fit_members(members(place, 1, 2), tmp_path)
    trained = []

    def watch(network, running, *rest):
        trained.extend(running)
        trainer.train(network, running, *rest)

    monkeypatch.setattr("scident.models._batched.train", watch)
    again = SVAEPlus.fit_members(members(place, 1, 2, 3), tmp_path)
    assert len(trained) == 1
    for a, b in zip(first, again[:2], strict=True):
        equal(a, b)
    assert again[2].epochs == EPOCHS


def test_a_failed_member_stays_failed_with_its_history(place, tmp_path):
    wild = params_of("svae_plus", epochs=EPOCHS, learning_rate=1e30)
    bad = [member(place, wild, 1, key="bad")]
    (first,), (again,) = SVAEPlus.fit_members(bad, tmp_path), SVAEPlus.fit_members(bad, tmp_path)
    assert first.reason == again.reason == "nonfinite_loss"
    assert first.epochs == again.epochs
    assert len(first.history) == len(again.history)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_broken_checkpoint_is_as_good_as_none(place, tmp_path, caplog, content):
    (tmp_path / "key1.pt").write_bytes(content)
    with caplog.at_level(logging.WARNING, "scident.engine.checkpoint"):
        (found,) = SVAEPlus.fit_members(members(place, 1), tmp_path)
    assert "cannot be read" in caplog.text
    equal(found, SVAEPlus.fit_members(members(place, 1))[0])


def test_a_truncated_checkpoint_is_as_good_as_none(place, tmp_path):
    SVAEPlus.fit_members(members(place, 1), tmp_path)
    path = tmp_path / "key1.pt"
    path.write_bytes(path.read_bytes()[:500])
    (found,) = SVAEPlus.fit_members(members(place, 1), tmp_path)
    equal(found, SVAEPlus.fit_members(members(place, 1))[0])


def test_nothing_is_kept_without_a_folder_or_a_key(place, tmp_path):
    from _tiny import N_LATENTS, progress
    from scident.models.svae_plus import SVAEPlusNetwork

    network = SVAEPlusNetwork(params_of("svae_plus"), 20, N_LATENTS, 6)
    one = progress(network, {})
    checkpoint.Store(None, ["key"]).save([0], [one])
    checkpoint.Store(tmp_path, [""]).save([0], [one])
    assert not list(tmp_path.iterdir())
