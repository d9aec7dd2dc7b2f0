"""The two kinds of small networks FCR is made of, over the member axis.

skip
    W h + b + nonlinear(h), the nonlinear part SiLU layers whose last weights start at 0 (fcr.md §13): training starts
    from a linear map, and may be held there.
relu
    Linear → BatchNorm → ReLU layers and a linear head, as published (fcr.md §4.4).
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from scident.engine import layers
from scident.engine.stack import Initial, Stack, constant

Declared = tuple[dict[str, Initial], dict[str, Initial]]
"""Parameters and buffers."""


def declare(kind: str, name: str, inputs: int, outputs: int, width: int, depth: int) -> Declared:
    """Declare (parameters, buffers) of a network with `depth` hidden layers."""
    if kind == "relu":
        parameters, buffers = layers.trunk_parameters(name, inputs, width, depth)
        return parameters | layers.linear_parameters(f"{name}_head", width, outputs), buffers
    parameters = layers.linear_parameters(f"{name}_skip", inputs, outputs)
    for layer in range(depth):
        parameters |= layers.linear_parameters(f"{name}.{layer}", inputs if layer == 0 else width, width)
    return parameters | {f"{name}_out": constant(0, outputs, width)}, {}


def apply(kind: str, stack: Stack, name: str, h: Tensor, training: bool, bend: Tensor | None = None) -> Tensor:
    """Return [members, outputs, cells] of h [members, inputs, cells].

    `bend`, a number, multiplies the nonlinear part of a skip network; None: 1.
    """
    if kind == "relu":
        return layers.linear(stack, f"{name}_head", layers.trunk(stack, name, h, training))
    straight = layers.linear(stack, f"{name}_skip", h)
    for layer in range(layers.depth_of(stack.p, name)):
        h = F.silu(layers.linear(stack, f"{name}.{layer}", h))
    last = stack.p[f"{name}_out"]
    return torch.baddbmm(straight, last if bend is None else last * bend, h)


def ends(kind: str, name: str) -> tuple[str, ...]:
    """Return the names of the parameters with a row per output."""
    if kind == "relu":
        return f"{name}_head.weight", f"{name}_head.bias"
    return f"{name}_skip.weight", f"{name}_skip.bias", f"{name}_out"


def beginnings(kind: str, name: str) -> tuple[str, ...]:
    """Return the names of the parameters with a column per input."""
    return (f"{name}.0.weight", f"{name}_skip.weight") if kind == "skip" else (f"{name}.0.weight",)
