r"""The rotation of the latents in which perturbations move few of them.

A prior with unit variance is blind to rotations: :math:`Q^\top z` of a standard normal deviation is one again. A fit
with dense shifts is thus as good in any orthogonal basis, and a sparsity penalty must find the right one while all else
moves; where it stops decides what is recovered. Finding the basis once, from the dense shifts alone, is a small problem
with an answer that restarts agree on.
"""

import torch
from torch import Tensor

from scident.engine.stack import Stack

RESTARTS = 10
STEPS = 200
STEP_SIZE = 0.05
SMOOTH = 0.1
"""Added to the square of each shift under the root, so that the sum of absolute values has a slope everywhere."""


@torch.enable_grad()
def sparse_rotation(shifts: Tensor, seen: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    r"""Minimise :math:`\sum_{kj} \sqrt{(S Q - c)_{kj}^2 + 0.1}` over rotations Q and offsets c of each latent.

    Parameters
    ----------
    shifts
        S of every member, [members, perturbations, latents].
    seen
        1 for perturbations that count, 0 for those without training cells, [members, perturbations].
    starts
        Any matrices, [members, restarts, latents, latents]; their orthogonal factors are where the searches start.

    Returns
    -------
    Q, [members, latents, latents], and c, [members, latents], of the best search of each member.
    """
    first = torch.linalg.qr(starts.double()).Q
    shifts, seen = shifts.detach().double()[:, None], seen.double()[:, None, :, None]
    turn = torch.zeros_like(first, requires_grad=True)
    offset = (shifts @ first).where(seen > 0, torch.nan).nanmedian(2).values.requires_grad_()
    optimiser = torch.optim.Adam([turn, offset], lr=STEP_SIZE)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        loss = _size(shifts, seen, first @ torch.matrix_exp(turn - turn.mT), offset)
        turn.grad, offset.grad = torch.autograd.grad(loss.sum(), (turn, offset))
        optimiser.step()
        decay.step()
    with torch.no_grad():
        found = first @ torch.matrix_exp(turn - turn.mT)
        best = _size(shifts, seen, found, offset).argmin(1)
        row = torch.arange(len(best), device=best.device)
    return found[row, best], offset.detach()[row, best]


def _size(shifts: Tensor, seen: Tensor, rotation: Tensor, offset: Tensor) -> Tensor:
    left = shifts @ rotation - offset[:, :, None]
    return ((left**2 + SMOOTH).sqrt() * seen).sum((2, 3))


def rotate(stack: Stack, rotation: Tensor, offset: Tensor) -> None:
    """Turn the latents of every member, z into Qᵀz - c, in encoder, decoder and prior.

    Means, shifts and decoder change exactly; the logarithms of the variances, one per latent, become the averages of
    the old ones that Q mixes.

    Parameters
    ----------
    stack
        Of a network with heads ``mean`` and ``log_variance``, a trunk ``decoder`` and shifts; changed in place.
    rotation, offset
        Q, [members, latents, latents], and c, [members, latents].
    """
    p, away = stack.p, offset[:, :, None]
    p["mean.weight"].copy_(rotation.mT @ p["mean.weight"])
    p["mean.bias"].copy_(rotation.mT @ p["mean.bias"] - away)
    for part in ("weight", "bias"):
        p[f"log_variance.{part}"].copy_((rotation**2).mT @ p[f"log_variance.{part}"])
    turned = p["decoder.0.weight"] @ rotation
    p["decoder.0.weight"].copy_(turned)
    p["decoder.0.bias"] += turned @ away
    p["shift"].copy_(p["shift"] @ rotation - offset[:, None])
