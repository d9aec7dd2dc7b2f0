import numpy as np
import pytest
import torch

from _tiny import CPU, streams
from scident.engine import layers
from scident.engine.stack import Stack, initial_state

MEMBERS, INPUTS, WIDTH, CELLS = 3, 5, 4, 11


def made(declared, buffers=None, seeds=range(MEMBERS)):
    states = [initial_state(declared, buffers or {}, {}, np.random.SeedSequence(s), torch.float64) for s in seeds]
    return Stack(states, CPU, torch.float64)


def cells(seed=0, features=INPUTS):
    return torch.randn(MEMBERS, features, CELLS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def torch_norm(stack, k):
    norm = torch.nn.BatchNorm1d(WIDTH, eps=1e-3, momentum=0.01, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(stack.p["n.scale"][k])
        norm.bias.copy_(stack.p["n.shift"][k])
    return norm


def test_linear_is_torchs_linear_of_each_member():
    stack, h = made(layers.linear_parameters("l", INPUTS, WIDTH)), cells()
    out = layers.linear(stack, "l", h)
    for k in range(MEMBERS):
        expected = torch.nn.functional.linear(h[k].T, stack.p["l.weight"][k], stack.p["l.bias"][k, :, 0])
        torch.testing.assert_close(out[k].T, expected)


@pytest.mark.parametrize("name", ["l.weight", "l.bias"])
def test_linear_starts_uniform_within_one_over_root_of_inputs(name):
    inputs = 16
    start = made(layers.linear_parameters("l", inputs, 500), seeds=[0]).p[name].detach().flatten()
    scaled = start * 4
    assert scaled.abs().max() <= 1
    # uniform on ±1: mean 0 with standard error 1 / sqrt(3 n), variance 1/3 with standard error sqrt(4/45 / n)
    assert abs(float(scaled.mean())) < 4 / np.sqrt(3 * len(start))
    assert abs(float(scaled.var()) - 1 / 3) < 4 * np.sqrt(4 / 45 / len(start))


def test_batch_norm_is_torchs_batch_norm_of_each_member():
    parameters, buffers = layers.batch_norm_parameters("n", WIDTH)
    stack = made(parameters, buffers)
    with torch.no_grad():
        stack.p["n.scale"].copy_(torch.rand(MEMBERS, WIDTH, generator=torch.Generator().manual_seed(1)))
    norms = [torch_norm(stack, k) for k in range(MEMBERS)]
    for step in range(3):
        h = 2 + 3 * cells(step, WIDTH)
        out = layers.batch_norm(stack, "n", h, training=True)
        for k, norm in enumerate(norms):
            torch.testing.assert_close(out[k].T, norm(h[k].T))
            torch.testing.assert_close(stack.b["n.mean"][k], norm.running_mean)
            torch.testing.assert_close(stack.b["n.variance"][k], norm.running_var)
    h, before = cells(9, WIDTH), stack.b["n.mean"].clone()
    out = layers.batch_norm(stack, "n", h, training=False)
    for k, norm in enumerate(norms):
        torch.testing.assert_close(out[k].T, norm.eval()(h[k].T))
    assert torch.equal(stack.b["n.mean"], before)


def test_trunk_is_the_same_layers_in_torch():
    parameters, buffers = layers.trunk_parameters("t", INPUTS, WIDTH, 2)
    stack, h = made(parameters, buffers), cells()
    masks = streams(*range(MEMBERS)).keep(0.5, 2, WIDTH, CELLS)
    out = layers.trunk(stack, "t", h, True, masks)
    assert layers.depth_of(stack.p, "t") == 2
    for k in range(MEMBERS):
        x = h[k].T
        for layer in range(2):
            weight, bias = stack.p[f"t.{layer}.weight"][k], stack.p[f"t.{layer}.bias"][k, :, 0]
            x = torch.nn.functional.linear(x, weight, bias)
            norm = torch.nn.BatchNorm1d(WIDTH, eps=1e-3, momentum=0.01, dtype=torch.float64)
            x = torch.relu(norm(x)) * masks[k, layer].T
        torch.testing.assert_close(out[k].T, x)


def test_folded_layers_are_the_trunk_outside_training():
    parameters, buffers = layers.trunk_parameters("t", INPUTS, WIDTH, 2)
    stack, h = made(parameters, buffers), cells()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in (*stack.p.values(), *stack.b.values()):
            value.copy_(torch.rand(value.shape, generator=g, dtype=value.dtype) + 0.1)
    expected = layers.trunk(stack, "t", h, training=False)
    for weight, bias in layers.folded(stack, "t"):
        h = torch.relu(weight @ h + bias)
    torch.testing.assert_close(h, expected)


def test_products_alone_are_rounded_to_bfloat16():
    stack, h = made(layers.linear_parameters("l", INPUTS, WIDTH)), cells()
    exact = layers.linear(stack, "l", h)
    stack.products = torch.bfloat16
    found = layers.linear(stack, "l", h)
    assert found.dtype == exact.dtype
    assert not torch.equal(found, exact)
    # eight bits of mantissa: each factor and the result are rounded by at most 2^-9
    size = stack.p["l.weight"].abs() @ h.abs() + stack.p["l.bias"].abs()
    assert bool(((found - exact).abs() <= 2**-7 * size).all())
    rounded = stack.p["l.weight"].to(torch.bfloat16) @ h.to(torch.bfloat16)
    torch.testing.assert_close(found - stack.p["l.bias"], rounded.double(), rtol=1e-12, atol=1e-12)


def test_batch_norm_of_one_member_is_not_moved_by_another():
    parameters, buffers = layers.batch_norm_parameters("n", WIDTH)
    h = cells(0, WIDTH)
    out = layers.batch_norm(made(parameters, buffers), "n", h, training=True)
    h[1] *= 100
    other = layers.batch_norm(made(parameters, buffers), "n", h, training=True)
    assert torch.equal(out[0], other[0])
    assert torch.equal(out[2], other[2])
