r"""An invertible map over the member axis: affine couplings with learned linear maps before, between and after.

.. math:: h \leftarrow W_l h + b_l; \quad (h_1, h_2) \leftarrow (h_1,\ h_2 \odot e^{s(h_1)} + t(h_1))

Dinh, Sohl-Dickstein & Bengio (2017), Density estimation using Real NVP; Kingma & Dhariwal (2018), Glow.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from scident.engine import layers
from scident.engine.stack import Initial, Stack, constant

LARGEST_SCALE = 2.0
"""Bound of a coupling's log scale."""


class Flow:
    """The map from `size` numbers to as many; its parameters' names begin with "flow."."""

    def __init__(self, size: int, couplings: int, width: int) -> None:
        self.size, self.couplings, self.width = size, couplings, width
        self.kept = size // 2
        """Numbers that a coupling leaves as they are, and that decide what it does to the others."""

    def parameters(self) -> dict[str, Initial]:
        """Declare linear maps, orthogonal at first, and the couplings' networks, whose outputs are zero at first."""
        maps = self.couplings + 1
        found = {
            "flow.linear": Initial((maps, self.size, self.size), _orthogonal),
            "flow.offset": constant(0, maps, self.size, 1),
        }
        for name in (f"flow.{i}" for i in range(self.couplings)):
            found |= layers.linear_parameters(f"{name}.0", self.kept, self.width)
            found |= layers.linear_parameters(f"{name}.1", self.width, self.width)
            outputs = 2 * (self.size - self.kept)
            found |= {f"{name}.2.weight": constant(0, outputs, self.width), f"{name}.2.bias": constant(0, outputs, 1)}
        return found

    def forward(self, stack: Stack, h: Tensor, bend: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Map [members, size, cells].

        Parameters
        ----------
        stack
            With this object's parameters.
        h
            What is mapped.
        bend
            Factor of the couplings' log scales and shifts; 0: the map is affine.

        Returns
        -------
        The result, [members, size, cells], and the log of the absolute determinant of the Jacobian, [members, cells].
        """
        linear, offset = stack.p["flow.linear"], stack.p["flow.offset"]
        log_volume = torch.linalg.slogdet(linear).logabsdet.sum(1)[:, None]
        for i in range(self.couplings):
            kept, moved = self._parts(layers.affine(linear[:, i], offset[:, i], h))
            log_scale, shift = self._coupling(stack, i, kept, bend)
            h = torch.cat([kept, moved * log_scale.exp() + shift], 1)
            log_volume = log_volume + log_scale.sum(1)
        return layers.affine(linear[:, -1], offset[:, -1], h), log_volume

    def inverse(self, stack: Stack, h: Tensor) -> Tensor:
        """Return what `forward` maps to `h`, [members, size, cells]."""
        linear, offset = stack.p["flow.linear"], stack.p["flow.offset"]
        h = torch.linalg.solve(linear[:, -1], h - offset[:, -1])
        for i in reversed(range(self.couplings)):
            kept, moved = self._parts(h)
            log_scale, shift = self._coupling(stack, i, kept, 1.0)
            whole = torch.cat([kept, (moved - shift) * (-log_scale).exp()], 1)
            h = torch.linalg.solve(linear[:, i], whole - offset[:, i])
        return h

    def _parts(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return h[:, : self.kept], h[:, self.kept :]

    def _coupling(self, stack: Stack, i: int, kept: Tensor, bend: Tensor | float) -> tuple[Tensor, Tensor]:
        h = F.silu(layers.linear(stack, f"flow.{i}.0", kept))
        h = F.silu(layers.linear(stack, f"flow.{i}.1", h))
        log_scale, shift = (bend * layers.linear(stack, f"flow.{i}.2", h)).chunk(2, 1)
        return LARGEST_SCALE * torch.tanh(log_scale / LARGEST_SCALE), shift


def _orthogonal(size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    q: Tensor = torch.linalg.qr(torch.randn(size, generator=generator, dtype=torch.float64)).Q
    return q
