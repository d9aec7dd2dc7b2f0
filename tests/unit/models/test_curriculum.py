"""Latents find the block their variation belongs to."""

import numpy as np
import pytest
import torch

from _blocks import CONTEXTS, PERTURBATIONS, SIZES, batch, declared_by, design, labelled
from _tiny import stack_of
from scident.models._curriculum import Curriculum, assignment, taken
from scident.models._moments import Moments
from scident.models._priors import Priors


def moments(z, contexts, labels):
    return Moments.of([(batch(z, contexts, labels), z, 0.0)], design())


def shuffled(z, seed=5):
    order = torch.from_numpy(
        np.stack([np.random.default_rng([seed, k]).permutation(z.shape[1]) for k in range(len(z))])
    )
    return taken(z, order, 1), order


def test_a_shuffled_labelling_is_found_again():
    z, contexts, labels = labelled(members=8)
    mixed, order = shuffled(z)
    found = assignment(moments(mixed, contexts, labels).costs(), design().blocks)
    blocks = np.array(design().blocks)
    for k in range(8):
        assert list(blocks[order[k][found[k]]]) == list(blocks)
    # what is in place stays in place
    again = taken(mixed, found, 1)
    still = assignment(moments(again, contexts, labels).costs(), design().blocks)
    assert torch.equal(still, torch.arange(sum(SIZES)).expand(8, -1))


def test_deviations_alone_tell_blocks_apart():
    z, contexts, labels = labelled(members=4)
    for code in range(CONTEXTS * PERTURBATIONS):  # every condition has mean zero
        own = contexts[0] * PERTURBATIONS + labels[0] == code
        z[:, :, own] -= z[:, :, own].mean(2, keepdim=True)
    mixed, order = shuffled(z)
    found = assignment(moments(mixed, contexts, labels).costs(), design().blocks)
    blocks = np.array(design().blocks)
    assert all(list(blocks[order[k][found[k]]]) == list(blocks) for k in range(4))


@pytest.mark.parametrize("block", ["x", "tx", "t"])
def test_moments_are_those_of_the_cells_of_each_condition(block):
    z, contexts, labels = labelled()
    mean, log_sd = moments(z, contexts, labels).table(block)
    code = {"x": contexts, "tx": contexts * PERTURBATIONS + labels, "t": labels}[block][0]
    for condition in range(int(code.max()) + 1):
        own = z[:, :, code == condition]
        torch.testing.assert_close(mean[:, condition], own.mean(2))
        torch.testing.assert_close(log_sd[:, condition].exp(), own.std(2, correction=0))


def test_batches_add_up_and_variances_are_added():
    z, contexts, labels = labelled()
    whole = moments(z, contexts, labels)
    cut = [slice(0, 100), slice(100, 101), slice(101, None)]
    parts = [(batch(z[:, :, c], contexts[:, c], labels[:, c]), z[:, :, c], 0.0) for c in cut]
    torch.testing.assert_close(Moments.of(parts, design()).square, whole.square)
    wide = Moments.of([(batch(z, contexts, labels), z, torch.full_like(z, 0.7))], design())
    torch.testing.assert_close((2 * wide.table("tx")[1]).exp(), (2 * whole.table("tx")[1]).exp() + 0.7)


def test_conditions_without_cells_take_the_moments_of_all():
    z, contexts, labels = labelled()
    keep = (contexts[0] != 3) & (labels[0] != 1)
    found = moments(z[:, :, keep], contexts[:, keep], labels[:, keep])
    centre, spread = z[:, :, keep].mean(2), z[:, :, keep].std(2, correction=0)
    for block, row in (("x", 3), ("t", 1), ("tx", 1)):
        mean, log_sd = found.table(block)
        torch.testing.assert_close(mean[:, row], centre)
        torch.testing.assert_close(log_sd[:, row].exp(), spread)


def test_linear_maps_alone_for_a_quarter_and_two_turns_before():
    plan = Curriculum(100, design())
    assert [epoch for epoch in range(100) if not float(plan.bend(torch.tensor(epoch)))] == list(range(25))
    assert plan.turns == {8, 16}
    short = Curriculum(2, design())
    assert float(short.bend(torch.tensor(0))) == 1
    assert 0 not in short.turns


def test_a_turn_reorders_and_resets_the_priors_and_is_over():
    z, contexts, labels = labelled()
    mixed, order = shuffled(z)
    priors, plan = Priors("tables", design()), Curriculum(100, design())
    stack, orders = stack_of(declared_by(priors), {}, (1, 2)), []

    def turn(epoch):
        return plan.turn(
            stack,
            epoch,
            lambda: iter([batch(mixed, contexts, labels)]),
            lambda b: (b.counts, 0.0),
            orders.append,
            priors,
        )

    assert not turn(7)
    assert not orders
    assert turn(8)
    (found,) = orders
    mean, log_sd = priors(stack, contexts, labels)
    sorted_again = taken(mixed, found, 1)
    assert {b for b, i in zip(design().blocks, order[0][found[0]], strict=True) if design().blocks[i] != b} == set()
    residual = (sorted_again - mean) * (-log_sd).exp()
    torch.testing.assert_close(residual.square().mean(2), torch.ones_like(residual[..., 0]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axis", [1, 2])
def test_taken_reorders_each_member_by_its_own(axis):
    value = torch.arange(24.0).view(2, 3, 4)
    order = torch.tensor([[2, 0, 1], [0, 2, 1]]) if axis == 1 else torch.tensor([[3, 0, 1, 2], [0, 1, 3, 2]])
    found = taken(value, order, axis)
    for k in range(2):
        assert torch.equal(found[k], value[k].index_select(axis - 1, order[k]))
