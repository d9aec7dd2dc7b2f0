"""Layers over the member axis. Activations are [members, features, cells], so that the batch is contiguous.

Feature-major order makes batch normalisation one call of PyTorch's fused kernel (members × features are its channels)
and keeps every matrix product a plain batched one.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from scident.engine.stack import Initial, Stack, constant, fan_in

BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.01


def linear(stack: Stack, name: str, h: Tensor) -> Tensor:
    """Apply W h + b per member: [members, in, cells] → [members, out, cells]."""
    weight, bias = stack.p[f"{name}.weight"], stack.p[f"{name}.bias"]
    if stack.products is not None:
        return torch.bmm(weight.to(stack.products), h.to(stack.products)).to(bias.dtype) + bias
    return affine(weight, bias, h)


def affine(weight: Tensor, bias: Tensor, h: Tensor) -> Tensor:
    """Return W h + b: in a graph the sum becomes part of what follows it, else it is part of the product."""
    if torch.compiler.is_compiling():
        return torch.bmm(weight, h) + bias
    return torch.baddbmm(bias, weight, h)


def linear_parameters(name: str, inputs: int, outputs: int) -> dict[str, Initial]:
    """Declare a linear layer with PyTorch's default start."""
    return {f"{name}.weight": fan_in(inputs, outputs, inputs), f"{name}.bias": fan_in(inputs, outputs, 1)}


def batch_norm(stack: Stack, name: str, h: Tensor, training: bool) -> Tensor:
    """Normalise each feature of each member over its cells; in training, also move the running statistics."""
    members, features, cells = h.shape
    normalised = F.batch_norm(
        h.reshape(1, members * features, cells),
        stack.b[f"{name}.mean"].view(-1),
        stack.b[f"{name}.variance"].view(-1),
        stack.p[f"{name}.scale"].reshape(-1),
        stack.p[f"{name}.shift"].reshape(-1),
        training,
        BATCH_NORM_MOMENTUM,
        BATCH_NORM_EPS,
    )
    return normalised.view(members, features, cells)


def batch_norm_parameters(name: str, features: int) -> tuple[dict[str, Initial], dict[str, Initial]]:
    """Declare (parameters, buffers) of a batch normalisation."""
    parameters = {f"{name}.scale": constant(1, features), f"{name}.shift": constant(0, features)}
    buffers = {f"{name}.mean": constant(0, features), f"{name}.variance": constant(1, features)}
    return parameters, buffers


def trunk(stack: Stack, name: str, h: Tensor, training: bool, masks: Tensor | None = None) -> Tensor:
    """Apply layers of Linear → BatchNorm → ReLU (→ Dropout with `masks` [members, layers, width, cells])."""
    for layer in range(depth_of(stack.p, name)):
        h = linear(stack, f"{name}.{layer}", h)
        h = torch.relu(batch_norm(stack, f"{name}.{layer}", h, training))
        if masks is not None:
            h = h * masks[:, layer]
    return h


def folded(stack: Stack, name: str) -> list[tuple[Tensor, Tensor]]:
    """Return (weight, bias) of a trunk's layers with their running normalisation folded in: Linear → ReLU is left."""
    found = []
    for layer in (f"{name}.{i}" for i in range(depth_of(stack.p, name))):
        gain = stack.p[f"{layer}.scale"] * (stack.b[f"{layer}.variance"] + BATCH_NORM_EPS).rsqrt()
        shift = stack.p[f"{layer}.shift"] - stack.b[f"{layer}.mean"] * gain
        weight, bias = stack.p[f"{layer}.weight"], stack.p[f"{layer}.bias"]
        found.append((gain[..., None] * weight, gain[..., None] * bias + shift[..., None]))
    return found


def trunk_parameters(name: str, inputs: int, width: int, layers: int) -> tuple[dict[str, Initial], dict[str, Initial]]:
    """Declare (parameters, buffers) of a trunk."""
    parameters: dict[str, Initial] = {}
    buffers: dict[str, Initial] = {}
    for layer in range(layers):
        parameters |= linear_parameters(f"{name}.{layer}", inputs if layer == 0 else width, width)
        more_parameters, more_buffers = batch_norm_parameters(f"{name}.{layer}", width)
        parameters |= more_parameters
        buffers |= more_buffers
    return parameters, buffers


def depth_of(parameters: Mapping[str, Tensor], name: str) -> int:
    """Return how many layers a trunk has."""
    return sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in parameters)


def rows_of(table: Tensor, labels: Tensor) -> Tensor:
    """Return each cell's row of `table` [members, conditions, features] as [members, cells, features]."""
    members, rows, width = table.shape
    first = torch.arange(members, device=labels.device)[:, None] * rows
    return table.reshape(members * rows, width).index_select(0, (labels + first).reshape(-1)).view(*labels.shape, width)
