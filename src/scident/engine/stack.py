"""The parameters of many members, stacked: one row per member, one flat row per optimiser step."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]


@dataclass(frozen=True)
class Initial:
    """Shape and first value of one parameter or buffer of one member."""

    shape: tuple[int, ...]
    draw: Draw


def constant(value: float, *shape: int) -> Initial:
    """Start at a constant."""
    return Initial(shape, lambda size, _: torch.full(size, value, dtype=torch.float64))


def normal(*shape: int) -> Initial:
    """Start at standard normal numbers."""
    return Initial(shape, lambda size, g: torch.randn(size, generator=g, dtype=torch.float64))


def fan_in(fan: int, *shape: int) -> Initial:
    """Start uniform in ±1/sqrt(fan), PyTorch's default for linear layers and their biases."""
    bound = 1 / math.sqrt(fan)
    return Initial(shape, lambda size, g: (torch.rand(size, generator=g, dtype=torch.float64) * 2 - 1) * bound)


class Stack:
    """Parameters ``p``, buffers ``b`` and hyperparameters ``h`` of K members; every tensor has a leading member axis.

    The parameters are views of one flat [members, n_params] tensor, so that the optimiser makes one call per member
    and dropping a member is one row selection.
    """

    def __init__(self, members: Sequence["MemberState"], device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        first = members[0]
        self.shapes = {name: tuple(value.shape) for name, value in first.parameters.items()}
        rows = [torch.cat([value.reshape(-1) for value in m.parameters.values()]) for m in members]
        self.flat = torch.stack(rows).to(device, dtype)
        self.b = {n: torch.stack([m.buffers[n] for m in members]).to(device, dtype) for n in first.buffers}
        self.h = {
            n: torch.tensor([m.hyper[n] for m in members], device=device, dtype=torch.float64).to(dtype)
            for n in first.hyper
        }
        self.p = self._views()

    def __len__(self) -> int:
        return len(self.flat)

    def _views(self) -> dict[str, Tensor]:
        views, start = {}, 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            view = self.flat[:, start : start + size].view(len(self.flat), *shape)
            views[name] = view.detach().requires_grad_()
            start += size
        return views

    def select(self, keep: Sequence[int]) -> None:
        """Drop all members but these."""
        rows = torch.tensor(keep, device=self.device)
        self.flat = self.flat[rows].clone()
        self.b = {name: value[rows].clone() for name, value in self.b.items()}
        self.h = {name: value[rows] for name, value in self.h.items()}
        self.p = self._views()

    def member(self, k: int) -> "MemberState":
        """Copy one member's state out."""
        return MemberState(
            parameters={n: v[k].detach().clone().cpu() for n, v in self.p.items()},
            buffers={n: v[k].clone().cpu() for n, v in self.b.items()},
            hyper={n: float(v[k]) for n, v in self.h.items()},
        )


@dataclass(frozen=True)
class MemberState:
    """What one member is made of."""

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    hyper: dict[str, float]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return parameters and buffers as arrays, ready to be stored."""
        return {n: v.numpy() for n, v in (self.parameters | self.buffers).items()}


def initial_state(
    parameters: Mapping[str, Initial],
    buffers: Mapping[str, Initial],
    hyper: Mapping[str, float],
    seed: np.random.SeedSequence,
    dtype: torch.dtype,
) -> MemberState:
    """Draw the first state of one member, in double precision and in the order the parameters are named in."""
    generator = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]) >> 1)
    return MemberState(
        parameters={n: i.draw(i.shape, generator).to(dtype) for n, i in parameters.items()},
        buffers={n: i.draw(i.shape, generator).to(dtype) for n, i in buffers.items()},
        hyper=dict(hyper),
    )
