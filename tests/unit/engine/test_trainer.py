import numpy as np
import pytest
import torch

from _tiny import CPU, progress, same_state
from scident.engine.batches import Cells
from scident.engine.stack import constant, normal
from scident.engine.trainer import Network, Schedule, train

N_TRAIN, N_VAL = 20, 5
START = {"goal": 0.0, "poison": -1.0}


class Walk(Network):
    """One weight that walks up; its validation score is the distance to a goal, NaN from the epoch `poison` on."""

    def parameters(self):
        return {"w": constant(0, 1)}

    def buffers(self):
        return {"steps": constant(0, 1)}

    def loss(self, stack, batch, noise, epoch):
        stack.b["steps"] += 1
        factor = torch.where(stack.h["poison"] == epoch, torch.nan, 1.0)
        return -stack.p["w"][:, 0] * factor

    def validate(self, stack, batch, noise):
        return {"nelbo": (stack.p["w"][:, 0] - stack.h["goal"]).abs() * len(batch)}


class Fit(Network):
    """Least squares of the first gene's counts on the others, with a random weight of each cell."""

    def parameters(self):
        return {"w": normal(2), "bias": constant(0.5, 1)}

    def buffers(self):
        return {}

    def noise(self, streams, cells, training):
        return {"weight": streams.normal(cells)} if training else {}

    def loss(self, stack, batch, noise, epoch):
        seen = torch.einsum("mg,mgc->mc", stack.p["w"], batch.counts[:, 1:]) + stack.p["bias"]
        return ((batch.counts[:, 0] - seen) ** 2 * noise["weight"] ** 2).mean(1)

    def validate(self, stack, batch, noise):
        return {"nelbo": stack.p["w"].sum(1) * 0 + len(batch)}


def data(dtype=torch.float64):
    counts = np.random.default_rng(0).poisson(3, (N_TRAIN + N_VAL, 3)).astype(np.float32)
    return Cells([counts], [np.zeros(len(counts), dtype=np.int64)], CPU, dtype)


def fit(network, *members, batch_size=8, **more):
    train(network, members, data(), N_TRAIN, N_VAL, Schedule(batch_size), **more)
    return members


def walker(seed=0, hyper=None, **more):
    return progress(Walk(), START | (hyper or {}), seed, rows=(0, N_TRAIN), **({"learning_rate": 0.1} | more))


def weight(member):
    return float(member.state.parameters["w"])


def test_a_step_is_torchs_adam():
    rate = 0.05
    (member,) = fit(Fit(), progress(Fit(), {}, 3, rows=(0, N_TRAIN), learning_rate=rate, epochs=4))

    again = progress(Fit(), {}, 3)
    w, bias = (again.state.parameters[n].clone().requires_grad_() for n in ("w", "bias"))
    adam = torch.optim.Adam([w, bias], lr=rate, eps=0.01, weight_decay=1e-6)
    from scident.engine.streams import Streams

    streams = Streams([again.seed], CPU, torch.float64)
    for epoch in range(4):
        streams.start(1, epoch)
        order = streams.permutations(N_TRAIN)[0]
        for start in (0, 8, 16):
            x = data().store.counts[order[start : start + 8]]
            residual = x[:, 0] - x[:, 1:] @ w - bias
            adam.zero_grad()
            (residual**2 * streams.normal(len(x))[0] ** 2).mean().backward()
            adam.step()
    torch.testing.assert_close(member.state.parameters["w"], w.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(member.state.parameters["bias"], bias.detach(), rtol=1e-12, atol=1e-12)


def test_a_last_batch_of_fewer_than_three_cells_is_dropped():
    (short,) = fit(Walk(), walker(epochs=1), batch_size=9)
    (whole,) = fit(Walk(), walker(epochs=1), batch_size=8)
    assert float(short.state.buffers["steps"]) == 2
    assert float(whole.state.buffers["steps"]) == 3


def test_each_member_has_its_own_epochs_and_rate():
    a, b, c = fit(Walk(), walker(epochs=2), walker(epochs=5), walker(epochs=5, learning_rate=0.2))
    assert [m.epoch for m in (a, b, c)] == [2, 5, 5]
    assert all(m.done and not m.failure for m in (a, b, c))
    assert weight(b) == pytest.approx(2.5 * weight(a), rel=1e-3)
    assert weight(c) == pytest.approx(2 * weight(b), rel=1e-3)


def test_patience_counts_from_epoch_zero():
    # the score only grows: epoch 0 is the best, epochs 1 to 3 are waited for
    (member,) = fit(Walk(), walker(hyper={"goal": -1.0}, epochs=50, patience=3))
    assert member.epoch == 4
    assert member.best == pytest.approx(member.history[0][2])


def test_a_new_best_starts_the_wait_again():
    (member,) = fit(Walk(), walker(hyper={"goal": 1.5}, epochs=50, patience=3))
    scores = [value for _, name, value in member.history if name == "val_nelbo"]
    assert member.epoch == int(np.argmin(scores)) + 4


def test_the_rate_falls_linearly_to_nothing_over_the_last_epochs():
    member = walker(epochs=10, learning_rate=2.0, decay=0.4)
    assert [member.rate(epoch) for epoch in range(10)] == pytest.approx([2.0] * 6 + [2.0, 1.5, 1.0, 0.5])
    assert [walker(epochs=3, learning_rate=2.0).rate(epoch) for epoch in range(3)] == [2.0] * 3


def test_the_rate_falls_as_half_a_cosine():
    member = walker(epochs=8, learning_rate=2.0, decay=1.0, cosine=True)
    expected = [1 + np.cos(np.pi * epoch / 8) for epoch in range(8)]
    assert [member.rate(epoch) for epoch in range(8)] == pytest.approx(expected)
    late = walker(epochs=10, learning_rate=2.0, decay=0.4, cosine=True)
    assert [late.rate(epoch) for epoch in range(10)] == pytest.approx([2.0] * 6 + expected[::2])


def test_each_member_decays_over_its_own_epochs():
    a, b = fit(Walk(), walker(epochs=4, decay=1.0), walker(epochs=4))
    # Adam's steps on a constant slope are the rate: 1 + 3/4 + 2/4 + 1/4 of the four that the other makes
    assert weight(a) == pytest.approx(weight(b) * 2.5 / 4, rel=1e-3)
    (alone,) = fit(Walk(), walker(epochs=4, decay=1.0))
    assert weight(alone) == weight(a)


class Turning(Walk):
    """Goes back to the start before epoch 3."""

    def turn(self, stack, streams, epoch, cells):
        if epoch != 3:
            return False
        with torch.no_grad():
            stack.p["w"].zero_()
        return True


def test_a_turn_starts_adam_and_the_wait_anew():
    # the score grows from epoch 0; without the turn the member would stop after epoch 4, with it after 3 + 4
    (member,) = fit(Turning(), walker(hyper={"goal": -1.0}, epochs=50, patience=4))
    assert member.epoch == 3 + 1 + 4
    (plain,) = fit(Walk(), walker(epochs=5))
    assert weight(member) == weight(plain)  # five epochs from the start, with moments of their own


def test_a_turn_can_go_through_the_training_cells_of_every_member():
    met = []

    class Reading(Walk):
        def turn(self, stack, streams, epoch, cells):
            met.append(torch.cat([batch.counts for batch in cells()], 2))
            return False

    fit(Reading(), walker(0, epochs=1), walker(1, epochs=2))
    whole = data().store.counts[:N_TRAIN].T
    assert [len(m) for m in met] == [2, 1]
    assert all(torch.equal(one, whole) for m in met for one in m)


def test_final_weights_are_kept_and_not_the_best():
    (member,) = fit(Walk(), walker(hyper={"goal": 0.3}, epochs=50, patience=2))
    (plain,) = fit(Walk(), walker(epochs=member.epoch))
    assert weight(member) == weight(plain) > 0.3


def test_a_stopped_member_is_dropped_and_the_others_go_on_unchanged():
    sizes, drawn = [], []

    class Watched(Walk):
        def noise(self, streams, cells, training):
            if training:
                drawn.append(len(streams.seeds))
            return {}

        def loss(self, stack, batch, noise, epoch):
            sizes.append((int(epoch), len(stack), drawn[-1]))
            return super().loss(stack, batch, noise, epoch)

    first, second, third = fit(Watched(), walker(0, epochs=2), walker(1, epochs=6), walker(2, epochs=4))
    (alone,) = fit(Walk(), walker(1, epochs=6))
    assert set(sizes) == {
        (0, 3, 3),
        (1, 3, 3),
        (2, 2, 2),
        (3, 2, 2),
        (4, 1, 1),
        (5, 1, 1),
    }
    assert same_state(second.state, alone.state)
    assert second.history == alone.history
    assert (first.epoch, third.epoch) == (2, 4)


@pytest.mark.parametrize("bad", [{"hyper": {"poison": 2.0}}, {"learning_rate": 1e308}])
def test_a_loss_that_is_not_finite_fails_its_member_alone(bad):
    lost, kept = fit(Walk(), walker(0, epochs=6, **bad), walker(1, epochs=6))
    (alone,) = fit(Walk(), walker(1, epochs=6))
    assert lost.failure == "nonfinite_loss"
    assert lost.done
    assert lost.epoch < 6
    assert not kept.failure
    assert same_state(kept.state, alone.state)


def test_history_has_every_quantity_of_every_epoch():
    (member,) = fit(Walk(), walker(epochs=3))
    assert [(epoch, name) for epoch, name, _ in member.history] == [(e, "val_nelbo") for e in range(3)]
    # Adam's first steps of a constant gradient are rate × 1 / (1 + eps) each, three a batch
    assert member.history[0][2] == pytest.approx(0.3 / 1.01, rel=1e-3)


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (-1, [{0: (1, True), 1: (1, False)}, {1: (2, False)}, {1: (3, True)}]),
        (1e9, [{0: (1, True), 1: (1, False)}, {1: (3, True)}]),
    ],
)
def test_members_are_saved_in_time_and_when_one_stops(every, expected):
    saved = []
    fit(
        Walk(),
        walker(0, epochs=1),
        walker(1, epochs=3),
        save=lambda at, members: saved.append({i: (m.epoch, m.done) for i, m in zip(at, members, strict=True)}),
        save_every_s=every,
    )
    assert saved == expected
