"""The map: its inverse, its volume, and the density it gives, against automatic differentiation in double precision."""

from dataclasses import replace

import pytest
import torch

from _blocks import batch, declared_by, design, labelled
from _tiny import stack_of, streams
from scident.engine.trainer import Network
from scident.models._flow import LARGEST_SCALE, Flow
from scident.models._flow_network import FlowNetwork
from scident.models.fcr_flow import Params

MEMBERS, CELLS = 2, 9


def bent(network, seeds=(1, 2)):
    """A stack whose couplings do something."""
    stack = stack_of(network if isinstance(network, Network) else declared_by(network), {}, seeds)
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in stack.p.values():
            value.add_(0.3 * torch.randn(value.shape, generator=g, dtype=value.dtype))
    return stack


def points(size, cells=CELLS, seed=4):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(MEMBERS, size, cells, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("size", [2, 5, 10])
def test_the_inverse_undoes_the_map(size):
    flow = Flow(size, 4, 7)
    stack, y = bent(flow), points(size)
    z, _ = flow.forward(stack, y)
    assert float((z - y).detach().abs().max()) > 0.1
    # the linear maps' condition numbers multiply
    torch.testing.assert_close(flow.inverse(stack, z), y, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("size", [2, 5, 10])
def test_the_volume_is_the_jacobians(size):
    flow = Flow(size, 3, 7)
    stack, y = bent(flow), points(size)
    _, log_volume = flow.forward(stack, y)
    for cell in range(CELLS):
        one = y[:, :, cell : cell + 1]
        jacobian = torch.autograd.functional.jacobian(lambda h: flow.forward(stack, h)[0], one)
        for k in range(MEMBERS):
            own = jacobian[k, :, 0, k, :, 0]
            torch.testing.assert_close(log_volume[k, cell], torch.linalg.slogdet(own).logabsdet)


def test_without_a_bend_the_map_is_affine_and_stays_so_under_training():
    flow = Flow(5, 3, 7)
    stack, y = stack_of(declared_by(flow), {}, (1, 2)), points(5)
    z, log_volume = flow.forward(stack, y, torch.tensor(0.0))
    middle, _ = flow.forward(stack, y.roll(1, 2) * 0.25 + y * 0.75, torch.tensor(0.0))
    torch.testing.assert_close(middle, z.roll(1, 2) * 0.25 + z * 0.75)
    torch.testing.assert_close(log_volume, torch.zeros_like(log_volume), rtol=0, atol=1e-12)  # orthogonal at first
    slopes = torch.autograd.grad(z.square().sum(), list(stack.p.values()), allow_unused=True)
    for name, slope in zip(stack.p, slopes, strict=True):
        still = name not in {"flow.linear", "flow.offset"}
        assert (slope is None or not slope.any()) == still, name


def test_a_couplings_log_scale_is_bounded():
    flow = Flow(4, 1, 7)
    stack, y = bent(flow), points(4)
    with torch.no_grad():
        stack.p["flow.0.2.bias"] += 100
    _, log_volume = flow.forward(stack, y)
    linear = torch.linalg.slogdet(stack.p["flow.linear"]).logabsdet.sum(1, keepdim=True)
    torch.testing.assert_close(log_volume - linear, torch.full_like(log_volume, 2 * LARGEST_SCALE))


def test_members_do_not_touch_each_other():
    flow = Flow(5, 3, 7)
    stack, y = bent(flow), points(5)
    before = flow.forward(stack, y)
    with torch.no_grad():
        for value in stack.p.values():
            value[1] += 0.1
    after = flow.forward(stack, y)
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a[0], b[0])
        assert not torch.allclose(a[1], b[1])


def network():
    return FlowNetwork(Params(couplings=3, width=6, epochs=100), design())


def test_the_density_is_the_priors_by_change_of_variables():
    net = network()
    stack, (y, contexts, labels) = bent(net), labelled()
    found = net.log_density(stack, batch(y, contexts, labels))
    mean, log_sd = net.priors(stack, contexts, labels)
    for cell in (0, 100, 599):
        for k in range(MEMBERS):
            one = y[:, :, cell : cell + 1]
            z = net.flow.forward(stack, one)[0][k, :, 0]
            jacobian = torch.autograd.functional.jacobian(lambda h: net.flow.forward(stack, h)[0], one)[
                k, :, 0, k, :, 0
            ]
            normal = torch.distributions.Normal(mean[k, :, cell], log_sd[k, :, cell].exp())
            expected = normal.log_prob(z).sum() + torch.linalg.slogdet(jacobian).logabsdet
            torch.testing.assert_close(found[k, cell], expected)


def test_the_density_of_two_components_integrates_to_one():
    net = FlowNetwork(Params(couplings=2, width=6), replace(design(), n_latents=2, blocks=("x", "tx")))
    stack = bent(net, (1,))
    grid = torch.linspace(-30, 30, 601, dtype=torch.float64)
    y = torch.stack(torch.meshgrid(grid, grid, indexing="ij")).reshape(1, 2, -1)
    zeros = torch.zeros(1, y.shape[2], dtype=torch.int64)
    with torch.no_grad():
        mass = net.log_density(stack, batch(y, zeros, zeros)).exp().sum() * float(grid[1] - grid[0]) ** 2
    assert float(mass) == pytest.approx(1, abs=5e-3)


def test_a_turn_permutes_the_latents_and_nothing_else():
    net = network()
    stack, (y, contexts, labels) = bent(net), labelled()
    whole = batch(y, contexts, labels)
    with torch.no_grad():
        before, volume = net.flow.forward(stack, y)
        assert net.turn(stack, streams(1, 2), 8, lambda: iter([whole]))
        after, same = net.flow.forward(stack, y)
    torch.testing.assert_close(same, volume)
    for k in range(MEMBERS):
        order = [int((after[k, j] - before[k]).abs().sum(1).argmin()) for j in range(before.shape[1])]
        assert sorted(order) == list(range(before.shape[1]))
        torch.testing.assert_close(after[k], before[k][order], rtol=1e-12, atol=1e-12)
    mean, log_sd = net.priors(stack, contexts, labels)
    spread = ((after - mean) * (-log_sd).exp()).square().mean(2)
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=1e-6, atol=1e-6)


def test_the_loss_is_linear_for_a_quarter_of_the_epochs():
    net = network()
    stack, (y, contexts, labels) = bent(net), labelled()
    whole = batch(y, contexts, labels)
    early, late = (net.loss(stack, whole, {}, torch.tensor(epoch)) for epoch in (24, 25))
    torch.testing.assert_close(early, -net.log_density(stack, whole, 0.0).mean(1))
    torch.testing.assert_close(late, -net.log_density(stack, whole).mean(1))
    torch.testing.assert_close(net.validate(stack, whole, {})["nelbo"], late * y.shape[2])
    assert not torch.allclose(early, late)
