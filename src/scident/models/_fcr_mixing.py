"""A linear map of the latents that encoder and decoder share, so that latents can turn without anything else changing.

The encoder's means are multiplied by W and what the decoder reads by its inverse. Without it, reconstruction holds the
latents where they are: a turn must be made by encoder and decoder at once, to the precision of the posterior.
"""

import torch
from torch import Tensor

from scident.engine.stack import Initial, Stack
from scident.models._curriculum import taken

NAME = "mixing"


def declare(n_latents: int) -> dict[str, Initial]:
    """Declare W, [latents, latents], the identity at the start."""
    return {NAME: Initial((n_latents, n_latents), lambda size, _: torch.eye(size[0], dtype=torch.float64))}


def mixed(stack: Stack, mean: Tensor) -> Tensor:
    """Return W × mean, [members, latents, cells]."""
    return torch.bmm(stack.p[NAME], mean) if NAME in stack.p else mean


def unmixed(stack: Stack, z: Tensor) -> Tensor:
    """Return the inverse of W × z, [members, latents, cells]."""
    found: Tensor = torch.linalg.solve(stack.p[NAME], z) if NAME in stack.p else z
    return found


def permute(stack: Stack, order: Tensor) -> None:
    """Put the mixed latents into another order, [members, latents], in place."""
    stack.p[NAME].copy_(taken(stack.p[NAME], order, 1))
