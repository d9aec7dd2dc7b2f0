import numpy as np
import pytest
import torch

from _tiny import CPU
from scident.engine.optimiser import Adam
from scident.engine.stack import Stack, initial_state, normal

DECLARED = {"a": normal(2, 3), "b": normal(4)}


def stack_of(*seeds):
    each = [np.random.SeedSequence(s) for s in seeds]
    return Stack([initial_state(DECLARED, {}, {}, s, torch.float64) for s in each], CPU, torch.float64)


def slopes(stack, step):
    g = torch.Generator().manual_seed(step)
    return [torch.randn(value.shape, generator=g, dtype=torch.float64) for value in stack.p.values()]


@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.1, 0.02)])
def test_steps_are_torchs_with_each_members_rate(rates):
    stack, again = stack_of(1, 2), stack_of(1, 2)
    mine = Adam(stack, rates, 0.01, 1e-2, [{}, {}])
    rows = [[value[k].detach().clone() for value in again.p.values()] for k in (0, 1)]
    theirs = [torch.optim.Adam(row, lr=r, eps=0.01, weight_decay=1e-2) for row, r in zip(rows, rates, strict=True)]
    for step in range(5):
        found = slopes(stack, step)
        mine.step(found)
        for k, (row, adam) in enumerate(zip(rows, theirs, strict=True)):
            for value, slope in zip(row, found, strict=True):
                value.grad = slope[k]
            adam.step()
    for k, row in enumerate(rows):
        for value, expected in zip(stack.p.values(), row, strict=True):
            torch.testing.assert_close(value[k].detach(), expected, rtol=1e-12, atol=1e-12)


def test_moments_that_went_out_and_in_change_nothing():
    undisturbed, stack = stack_of(1, 2), stack_of(1, 2)
    adams = [Adam(s, (0.1, 0.2), 0.01, 0, [{}, {}]) for s in (undisturbed, stack)]
    for step in range(3):
        for adam in adams:
            adam.step(slopes(stack, step))
    resumed = Adam(stack, (0.1, 0.2), 0.01, 0, [adams[1].moments(k) for k in (0, 1)])
    adams[0].step(slopes(stack, 9))
    resumed.step(slopes(stack, 9))
    assert all(torch.equal(undisturbed.p[name], stack.p[name]) for name in stack.p)


def test_copied_moments_do_not_move_on():
    stack = stack_of(1)
    adam = Adam(stack, (0.1,), 0.01, 0, [{}])
    adam.step(slopes(stack, 0))
    kept = adam.moments(0)
    before = {name: value.clone() for name, value in kept.items()}
    adam.step(slopes(stack, 1))
    assert all(torch.equal(kept[name], before[name]) for name in kept)
    assert float(kept["steps"]) == 1


def test_a_gradient_that_lies_across_memory_is_read_right():
    straight, across = stack_of(1, 2), stack_of(1, 2)
    for stack, lay in ((straight, lambda g: g), (across, lambda g: g.mT.contiguous().mT if g.ndim > 2 else g)):
        Adam(stack, (0.1, 0.1), 0.01, 0, [{}, {}]).step([lay(g) for g in slopes(stack, 0)])
    assert all(torch.equal(straight.p[name], across.p[name]) for name in straight.p)
