"""A model and its adversary leave each other's parameters alone; gradients are cut to a length."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from _tiny import CPU, progress
from scident.engine.batches import Cells
from scident.engine.optimiser import clipped
from scident.engine.progress import Schedule
from scident.engine.stack import constant, normal
from scident.engine.trainer import Loop, Network, train

N_TRAIN, N_VAL, BATCH = 24, 6, 8


class Game(Network):
    """The adversary tells the first gene from a shadow of it that the model casts; the model pleases nobody else."""

    def __init__(self):
        self.seen = []

    def parameters(self):
        return {"w": normal(1), "adversary.slope": normal(1)}

    def buffers(self):
        return {}

    def noise(self, streams, cells, training):
        return {"e": streams.normal(1, cells)} if training else {}

    def logit(self, stack, batch, noise):
        shadow = stack.p["w"][:, :, None] * batch.counts[:, :1] + noise["e"]
        return (stack.p["adversary.slope"][:, :, None] * shadow).squeeze(1)

    def loss(self, stack, batch, noise, epoch):
        self.note("model", stack, batch, noise)
        return -torch.nn.functional.softplus(self.logit(stack, batch, noise)).mean(1)

    def adversary(self, stack, batch, noise, epoch):
        self.note("adversary", stack, batch, noise)
        return torch.nn.functional.softplus(self.logit(stack, batch, noise)).mean(1)

    def note(self, who, stack, batch, noise):
        values = {name: value.detach().clone() for name, value in stack.p.items()}
        self.seen.append((who, values, batch.counts, noise["e"]))

    def validate(self, stack, batch, noise):
        return {"nelbo": stack.p["w"].sum(1) * 0 + len(batch)}


def data():
    counts = np.random.default_rng(0).poisson(3, (N_TRAIN + N_VAL, 2)).astype(np.float32)
    return Cells([counts], [np.zeros(len(counts), dtype=np.int64)], CPU, torch.float64)


def start(seed=0, **more):
    return progress(Game(), {}, seed, rows=(0, N_TRAIN), **({"learning_rate": 0.1} | more))


def played(steps, **schedule):
    network = Game()
    train(network, [start(epochs=2), start(1, epochs=2)], data(), N_TRAIN, N_VAL, Schedule(BATCH, **schedule))
    return network.seen


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("steps", [1, 3])
def test_each_loss_moves_its_own_parameters_alone(steps):
    seen = played(steps, adversary_steps=steps)
    assert [who for who, *_ in seen] == (["adversary"] * steps + ["model"]) * 2 * (N_TRAIN // BATCH)
    for (who, before, *_), (_, after, *_) in pairwise(seen):
        assert moved(before, after) == {"adversary": {"adversary.slope"}, "model": {"w"}}[who]


def test_the_adversary_sees_the_models_cells_with_noise_of_its_own():
    seen = played(2, adversary_steps=2)
    for first, second, model in zip(seen[::3], seen[1::3], seen[2::3], strict=True):
        assert torch.equal(first[2], model[2])
        assert torch.equal(second[2], model[2])
        assert not torch.equal(first[3], second[3])
        assert not torch.equal(second[3], model[3])


def test_both_optimisers_are_torchs_adam():
    (member,) = members = [start(3, epochs=3)]
    network = Game()
    train(network, members, data(), N_TRAIN, N_VAL, Schedule(BATCH, adversary_steps=2))

    again = start(3).state.parameters
    values = {name: value.clone().requires_grad_() for name, value in again.items()}
    adams = {name: torch.optim.Adam([value], lr=0.1, eps=0.01, weight_decay=1e-6) for name, value in values.items()}
    for who, _, counts, e in network.seen:
        name = "w" if who == "model" else "adversary.slope"
        shadow = values["w"][:, None] * counts[0, :1] + e[0]
        loss = torch.nn.functional.softplus(values["adversary.slope"][:, None] * shadow).mean()
        adams[name].zero_grad()
        (loss if who == "adversary" else -loss).backward()
        adams[name].step()
    for name, value in values.items():
        torch.testing.assert_close(member.state.parameters[name], value.detach(), rtol=1e-12, atol=1e-12)


def test_moments_of_both_are_resumed():
    """Two epochs in one go, or one, written out, and one more."""
    (whole,) = (start(epochs=2),)
    train(Game(), [whole], data(), N_TRAIN, N_VAL, Schedule(BATCH, adversary_steps=2))
    half = start(epochs=2)
    loop = Loop(Game(), [half], data(), N_TRAIN, N_VAL, Schedule(BATCH, adversary_steps=2))
    loop.epoch()
    loop.write_back([0])
    train(Game(), [half], data(), N_TRAIN, N_VAL, Schedule(BATCH, adversary_steps=2))
    for name, value in whole.state.parameters.items():
        assert torch.equal(half.state.parameters[name], value)


def test_a_long_gradient_is_cut_to_its_length_and_a_short_one_left_alone():
    g = torch.Generator().manual_seed(0)
    gradients = [torch.randn(3, *shape, generator=g, dtype=torch.float64) for shape in ((4, 2), (5,), ())]
    for gradient in gradients:
        gradient[1] *= 1e-3
        gradient[2] *= 1e3
    norms = torch.stack([torch.cat([x[k].flatten() for x in gradients]).norm() for k in range(3)])
    limit = float(norms[0]) * 0.5
    found = clipped(gradients, limit)
    for old, new in zip(gradients, found, strict=True):
        assert torch.equal(old[1], new[1])
        torch.testing.assert_close(new[0], old[0] * 0.5, rtol=1e-14, atol=0)
        torch.testing.assert_close(new[2], old[2] * limit / norms[2], rtol=1e-14, atol=0)
    after = torch.stack([torch.cat([x[k].flatten() for x in found]).norm() for k in range(3)])
    torch.testing.assert_close(after[[0, 2]], torch.full((2,), limit, dtype=torch.float64), rtol=1e-12, atol=0)


class Line(Network):
    """A slope of any size."""

    def parameters(self):
        return {"w": constant(0, 1)}

    def buffers(self):
        return {}

    def loss(self, stack, batch, noise, epoch):
        return stack.p["w"][:, 0] * stack.h["slope"]

    def validate(self, stack, batch, noise):
        return {"nelbo": stack.p["w"][:, 0] * len(batch)}


def test_the_loop_cuts_gradients_before_adam_sees_them():
    moments = []
    for slope, clip in ((50.0, 2.0), (2.0, None), (-50.0, 2.0)):
        member = progress(Line(), {"slope": slope}, rows=(0, N_TRAIN), epochs=2)
        loop = Loop(Line(), [member], data(), N_TRAIN, N_VAL, Schedule(BATCH, weight_decay=0, clip=clip))
        loop.epoch()
        moments.append(loop.steps.moments(0)["first.w"])
    torch.testing.assert_close(moments[0], moments[1])
    torch.testing.assert_close(moments[2], -moments[1])
