"""The parameters of many members, stacked along a leading member axis."""

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
    """Parameters ``p``, buffers ``b`` and hyperparameters ``h`` of K members, all with a leading member axis."""

    def __init__(
        self,
        members: Sequence["MemberState"],
        device: torch.device,
        dtype: torch.dtype,
        products: torch.dtype | None = None,
    ) -> None:
        self.device, self.dtype = device, dtype
        self.products = products
        """Precision of matrix products; None: that of everything else."""
        first = members[0]
        self.p = {
            n: torch.stack([m.parameters[n] for m in members]).to(device, dtype).requires_grad_()
            for n in first.parameters
        }
        self.b = {n: torch.stack([m.buffers[n] for m in members]).to(device, dtype) for n in first.buffers}
        self.h = {
            n: torch.tensor([m.hyper[n] for m in members], device=device, dtype=torch.float64).to(dtype)
            for n in first.hyper
        }
        self.size = len(members)

    def __len__(self) -> int:
        return self.size

    def select(self, keep: Sequence[int]) -> None:
        """Drop all members but these."""
        rows = torch.tensor(keep, device=self.device)
        self.p = {name: value.detach()[rows].requires_grad_() for name, value in self.p.items()}
        self.b = {name: value[rows] for name, value in self.b.items()}
        self.h = {name: value[rows] for name, value in self.h.items()}
        self.size = len(keep)

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
