r"""Negative binomial counts with softmax means.

A cell with library size :math:`l` has mean :math:`m_g = l\,\rho_g`, :math:`\rho = \mathrm{softmax}(o)`, and inverse
dispersion :math:`t_g = e^{r_g}`, so variance :math:`m + m^2 / t`. All tensors are [members, genes, cells] or
broadcast to it. Lopez et al. (2018), Nature Methods, for the parametrisation.
"""

from typing import Any

import torch
from torch import Tensor


def log_means(logits: Tensor, log_library: Tensor) -> Tensor:
    """Return log m, [members, genes, cells], without ever leaving log space."""
    return torch.log_softmax(logits, 1) + log_library


def negative_log_likelihood(counts: Tensor, log_mean: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return -log NB(counts), summed over genes, nats: [members, cells].

    Parameters
    ----------
    counts
        UMI counts, [members, genes, cells].
    log_mean
        log m, the same shape.
    log_dispersion
        r = log t, [members, genes, 1].
    """
    # lnG(t) of a large t eats the digits of single precision: at t = e^10 a cell would be wrong by 0.7 nats
    x, m, r = counts.double(), log_mean.double(), log_dispersion.double()
    t = r.exp()
    log_total = torch.logaddexp(r, m)
    density = t * (r - log_total) + x * (m - log_total) + torch.lgamma(x + t) - torch.lgamma(t) - torch.lgamma(x + 1)
    return -density.sum(1).to(log_mean.dtype)


def training_loss(counts: Tensor, logits: Tensor, log_library: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return the negative log-likelihood up to terms whose value is not needed in training, [members, cells].

    The gradient is the exact one; the value leaves out the log-gamma terms, which cost more than everything else.
    """
    loss: Tensor = _TrainingLoss.apply(counts, logits, log_library, log_dispersion)  # type: ignore[no-untyped-call]
    return loss


class _TrainingLoss(torch.autograd.Function):
    """Gradient written out: d/do = softmax-projected (t+x) m/(t+m) - x; d/dr by a digamma difference.

    Everything is a difference from the Poisson limit, so that single precision still holds where t is large.
    """

    @staticmethod
    def forward(ctx: Any, counts: Tensor, logits: Tensor, log_library: Tensor, r: Tensor) -> Tensor:
        log_mean = log_means(logits, log_library)
        t = r.exp()
        mean = log_mean.exp()
        rho = mean * (-log_library).exp()
        total = t + mean
        excess = torch.log1p(mean / t)
        value = ((counts + t) * excess - counts * (log_mean - r)).sum(1)
        slope = (counts + t) / total * mean - counts
        slope_r = t * ((counts - mean) / total + excess - digamma_difference(t, counts))
        ctx.save_for_backward(slope, rho, slope_r)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, Tensor]:
        slope, rho, slope_r = ctx.saved_tensors
        (outer,) = gradients
        to_logits = (slope - rho * slope.sum(1, keepdim=True)) * outer[:, None]
        return None, to_logits, None, torch.bmm(slope_r, outer[..., None])


SHIFT = 6
"""Stirling's series starts at this argument; its error is then below 1e-9."""


def digamma_difference(t: Tensor, x: Tensor) -> Tensor:
    """Return digamma(t + x) - digamma(t) for t > 0 and x ≥ 0, without cancellation where t is large."""
    return torch.log1p(x / (t + SHIFT)) + _stirling_rest(t + x) - _stirling_rest(t)


def _stirling_rest(x: Tensor) -> Tensor:
    """Return digamma(x) - log(x + SHIFT), by recurrence and Stirling's series."""
    steps = torch.zeros_like(x)
    for step in range(SHIFT):
        steps = steps + 1 / (x + step)
    y = 1 / (x + SHIFT)
    y2 = y * y
    return -y / 2 - y2 * (1 / 12 - y2 * (1 / 120 - y2 * (1 / 252 - y2 / 240))) - steps
