"""The switches that give the authors' behaviour (fcr.md §9), and normalisation in and out of training."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from _factorised import batch, network, noise_of, opened, place
from _tiny import stack_of


@pytest.fixture(scope="module")
def world():
    return place()


@pytest.mark.parametrize("posterior", ["labels", "joint"])
def test_control_from_treated_encodes_the_treated_cell_without_its_treatment(world, posterior):
    """S4: with it the partner's expression is reconstructed but never read."""
    net = network(world, permutation=0, similarity=1, posterior=posterior, control_from_treated=True, family="diagonal")
    stack, seen, noise = opened(world, net), batch(world, net), noise_of(net)
    other = replace(seen, partner=seen.partner.flip(2))
    torch.testing.assert_close(
        net.loss(stack, seen, noise, torch.tensor(5)), net.loss(stack, other, noise, torch.tensor(5))
    )
    reads = network(world, permutation=0, similarity=1, posterior=posterior, family="diagonal")
    assert not torch.allclose(
        reads.loss(stack, seen, noise, torch.tensor(5)), reads.loss(stack, other, noise, torch.tensor(5))
    )


def test_validation_leaves_normalisation_as_it_was_and_training_goes_on_with_batches(world):
    net = network(world, "fcr_published")
    stack, seen = opened(world, net), batch(world, net)
    running = copy.deepcopy(stack.b)
    net.validate(stack, seen, noise_of(net, training=False))
    assert all(torch.equal(stack.b[name], running[name]) for name in running)
    once = net.loss(stack, seen, noise_of(net), torch.tensor(2)).detach()
    moved = [name for name in running if not torch.equal(stack.b[name], running[name])]
    assert any(name.endswith("variance") for name in moved)
    net.validate(stack, seen, noise_of(net, training=False))
    torch.testing.assert_close(net.loss(stack, seen, noise_of(net), torch.tensor(2)).detach(), once)


def test_authors_norms_freeze_after_the_first_epoch(world):
    net = network(world, "fcr_authors")
    stack, seen = opened(world, net), batch(world, net)
    for epoch, moves in ((0, True), (1, False)):
        running = copy.deepcopy(stack.b)
        net.loss(stack, seen, noise_of(net), torch.tensor(epoch))
        assert any(not torch.equal(stack.b[name], running[name]) for name in running) == moves


@pytest.mark.parametrize("epoch", [0, 1, 8, 15])
def test_authors_train_discriminators_and_the_rest_in_turn(world, epoch):
    net = network(world, "fcr_authors")
    stack, seen, at = opened(world, net), batch(world, net), torch.tensor(epoch)
    discriminators_learn = epoch % 8 == 0
    model, adversary = (part(stack, seen, noise_of(net), at).detach() for part in (net.loss, net.adversary))
    assert (float(model) == 0) == discriminators_learn
    assert (float(adversary) > 0) == discriminators_learn


def test_authors_means_are_never_negative_nor_their_scales_small(world):
    net = network(world, "fcr_authors")
    stack, seen = opened(world, net), batch(world, net)
    for one in (net.encode(stack, net.own(stack, seen)), net.prior(stack, seen.contexts, seen.labels)):
        assert float(one.mean.detach().min()) == 0
        assert float(one.log_sd.detach().exp().min()) == pytest.approx(math.log(2) + 1e-3)


@pytest.mark.parametrize("prior", ["tables", "product", "concat"])
def test_rectified_priors_do_not_start_where_a_relu_has_no_slope(world, prior):
    net = network(world, "fcr_authors", prior=prior)
    stack = stack_of(net, {"ramp_epochs": 0.0})
    loss = net.loss(stack, batch(world, net), noise_of(net), torch.tensor(1))
    ends = [name for name in stack.p if name.startswith("prior.") and (prior == "tables" or ".skip." in name)]
    for name, slope in zip(ends, torch.autograd.grad(loss.sum(), [stack.p[n] for n in ends]), strict=True):
        assert float(slope.abs().max()) > 0, name
    assert len(ends) == (3 if prior == "tables" else 6)


def test_per_gene_mean_divides_reconstruction_alone(world):
    summed, averaged = (network(world, permutation=0, curriculum=False, beta=0, per_gene_mean=v) for v in (False, True))
    stack, seen = opened(world, summed), batch(world, summed)
    losses = [float(net.loss(stack, seen, noise_of(net), torch.tensor(1)).detach()) for net in (summed, averaged)]
    assert losses[1] == pytest.approx(losses[0] / 12)
