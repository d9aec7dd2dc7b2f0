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
    t = log_dispersion.exp()
    log_total = torch.logaddexp(log_dispersion, log_mean)
    density = (
        t * (log_dispersion - log_total)
        + counts * (log_mean - log_total)
        + torch.lgamma(counts + t)
        - torch.lgamma(t)
        - torch.lgamma(counts + 1)
    )
    return -density.sum(1)


def training_loss(counts: Tensor, logits: Tensor, log_library: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return the negative log-likelihood up to terms whose value is not needed in training, [members, cells].

    The gradient is the exact one; the value leaves out the log-gamma terms, which cost more than everything else.
    """
    loss: Tensor = _TrainingLoss.apply(counts, logits, log_library, log_dispersion)  # type: ignore[no-untyped-call]
    return loss


class _TrainingLoss(torch.autograd.Function):
    """Gradient written out: d/do = softmax-projected (t+x) m/(t+m) - x; d/dr by digamma differences."""

    @staticmethod
    def forward(ctx: Any, counts: Tensor, logits: Tensor, log_library: Tensor, r: Tensor) -> Tensor:
        log_mean = log_means(logits, log_library)
        t = r.exp()
        mean = log_mean.exp()
        rho = mean * (-log_library).exp()
        total = t + mean
        log_total = total.log()
        sum_ = counts + t
        ratio = sum_ / total
        value = (sum_ * log_total - counts * log_mean).sum(1) - (t * r).sum(1)
        slope = ratio * mean - counts
        slope_r = t * (ratio + log_total - digamma(sum_))
        ctx.save_for_backward(slope, rho, slope_r, r, t)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, Tensor]:
        slope, rho, slope_r, r, t = ctx.saved_tensors
        (outer,) = gradients
        to_logits = (slope - rho * slope.sum(1, keepdim=True)) * outer[:, None]
        per_cell = torch.bmm(slope_r, outer[..., None])
        per_gene = t * (digamma(t) - r - 1) * outer.sum(1)[:, None, None]
        return None, to_logits, None, per_cell + per_gene


def digamma(x: Tensor) -> Tensor:
    """Return the digamma function of positive numbers by a shift of 6 and Stirling's series, error < 1e-8."""
    shift = torch.zeros_like(x)
    for step in range(6):
        shift = shift + 1 / (x + step)
    y = 1 / (x + 6)
    y2 = y * y
    return (x + 6).log() - y / 2 - y2 * (1 / 12 - y2 * (1 / 120 - y2 * (1 / 252 - y2 / 240))) - shift
