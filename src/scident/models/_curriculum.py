"""How three blocks of latents find their roles (fcr.md §13): linear maps first, re-assignment to blocks, then all.

A network asks `Curriculum.bend` what its nonlinear branches count for, and hands its `turn` on.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from scident.engine.batches import Batch
from scident.engine.stack import Stack
from scident.engine.trainer import Batches
from scident.models._design import BLOCKS, Design
from scident.models._moments import Moments
from scident.models._priors import Priors

LINEAR = 0.25
"""Share of the epochs in which the nonlinear branches count for nothing."""

REASSIGNED = (0.08, 0.16)
"""Shares of the epochs after which latents are re-assigned to blocks."""


class Curriculum:
    """What happens when, in a training of so many epochs."""

    def __init__(self, epochs: int, design: Design) -> None:
        self.design = design
        self.linear_epochs = math.floor(LINEAR * epochs)
        """Epochs of linear maps alone."""
        self.turns = frozenset(math.ceil(share * epochs) for share in REASSIGNED)
        """Epochs before which latents are re-assigned."""

    def bend(self, epoch: Tensor) -> Tensor:
        """Return the factor of the nonlinear branches in an epoch: 0 or 1.

        A branch whose last layer starts at zero and whose output has this factor stays zero until it counts.
        """
        return (epoch >= self.linear_epochs).to(torch.get_default_dtype())

    @torch.no_grad()
    def turn(
        self,
        stack: Stack,
        epoch: int,
        cells: Batches,
        encode: Callable[[Batch], tuple[Tensor, Tensor | float]],
        permute: Callable[[Tensor], None],
        priors: Priors,
    ) -> bool:
        """Re-assign latents to blocks if it is time, in place; return whether it was.

        Parameters
        ----------
        stack, epoch, cells
            As `Network.turn` got them.
        encode
            Batch to mean and variance of the latents, [members, latents, cells] each; a number if all are equal.
        permute
            Reorders the latents everywhere but in the priors: given the order [members, latents], latent j becomes what
            latent order[:, j] was (see `taken`).
        priors
            Reset to the moments of the re-ordered latents.
        """
        if epoch not in self.turns:
            return False
        moments = Moments.of(((batch, *encode(batch)) for batch in cells()), self.design)
        order = assignment(moments.costs(), self.design.blocks or ())
        permute(order)
        priors.reset(stack, moments.permuted(order))
        return True


def assignment(costs: Tensor, blocks: tuple[str, ...]) -> Tensor:
    """Return the order of the latents that puts each in a block at the least total cost, [members, latents].

    Parameters
    ----------
    costs
        Of each latent in each block (see `Moments.costs`), [members, latents, blocks].
    blocks
        Block of each place. Latents of one block keep their order.
    """
    column = [BLOCKS.index(block) for block in blocks]
    orders = []
    for cost in costs.cpu().numpy():
        latents, places = linear_sum_assignment(cost[:, column])
        own = np.array(column)[places]
        orders.append(latents[np.argsort(own, kind="stable")])
    return torch.as_tensor(np.stack(orders), device=costs.device)


def taken(value: Tensor, order: Tensor, axis: int) -> Tensor:
    """Return a stacked tensor with an axis re-ordered member by member; `order` is [members, length of the axis]."""
    shape = [1] * value.ndim
    shape[0], shape[axis] = order.shape
    return value.gather(axis, order.view(shape).expand_as(value))
