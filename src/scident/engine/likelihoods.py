r"""Negative binomial counts with softmax means.

A cell with library size :math:`l` has mean :math:`m_g = l\,\rho_g`, :math:`\rho = \mathrm{softmax}(o)`, and inverse
dispersion :math:`t_g = e^{r_g}`, so variance :math:`m + m^2 / t`. All tensors are [members, genes, cells] or
broadcast to it. Lopez et al. (2018), Nature Methods, for the parametrisation.

.. math:: \log \mathrm{NB}(x) = \underbrace{x \log m - (x + t) \log(1 + m/t)}_{\text{varies with the mean}}
    + \underbrace{\log\Gamma(x + t) - \log\Gamma(t) - x r - \log\Gamma(x + 1)}_{\text{constant}}

Both parts are differences from the Poisson limit. The first holds in single precision however large t is.
"""

import math
from typing import Any

import torch
from torch import Tensor


def log_means(logits: Tensor, log_library: Tensor) -> Tensor:
    """Return log m, [members, genes, cells], without ever leaving log space."""
    return torch.log_softmax(logits, 1) + log_library


def varying_part(counts: Tensor, log_mean: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return what of log NB(counts) depends on the mean, summed over genes, nats: [members, cells]."""
    t = log_dispersion.exp()
    return (counts * log_mean - (counts + t) * torch.log1p(log_mean.exp() / t)).sum(1)


def constant_part(counts: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return what of log NB(counts) does not depend on the mean, summed over genes, nats: [members, cells], double.

    In single precision lnΓ(t) of a large t would lose its digits: at t = e^10 a cell would be wrong by 0.7 nats.
    """
    x, r = counts.double(), log_dispersion.double()
    t = r.exp()
    return (log_gamma(x + t) - log_gamma(t) - x * r - log_gamma(x + 1)).sum(1)


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
    varying = varying_part(counts, log_mean, log_dispersion)
    return -(varying + constant_part(counts, log_dispersion)).to(log_mean.dtype)


def training_loss(counts: Tensor, logits: Tensor, log_library: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return the negative log-likelihood up to terms whose value is not needed in training, [members, cells].

    The gradient is the exact one; the value leaves out the log-gamma terms, which cost more than everything else.
    """
    loss: Tensor = _TrainingLoss.apply(counts, logits, log_library, log_dispersion)  # type: ignore[no-untyped-call]
    return loss


class _TrainingLoss(torch.autograd.Function):
    """Gradient written out: d/do = softmax-projected t (m - x) / (t + m); d/dr by a digamma difference.

    Everything is a difference from the Poisson limit, so that single precision still holds where t is large.
    """

    @staticmethod
    def forward(ctx: Any, counts: Tensor, logits: Tensor, log_library: Tensor, r: Tensor) -> Tensor:
        log_rho = torch.log_softmax(logits, 1)
        rho = log_rho.exp()
        t = r.exp()
        mean = rho * log_library.exp()
        total = counts + t
        excess = torch.log1p(mean / t)
        value = (total * excess - counts * (log_rho + (log_library - r))).sum(1)
        slope = (mean - counts) / (mean + t) * t
        slope_r = (excess - digamma_difference(t, counts, total)) * t - slope
        ctx.save_for_backward(slope, rho, slope_r)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, Tensor]:
        slope, rho, slope_r = ctx.saved_tensors
        (outer,) = gradients
        to_logits = (slope - rho * slope.sum(1, keepdim=True)) * outer[:, None]
        return None, to_logits, None, torch.bmm(slope_r, outer[..., None])


SHIFT = 6
"""Asymptotic series start at this argument; the error of digamma's is then below 1e-9, of log-gamma's below 1e-10."""


def digamma_difference(t: Tensor, x: Tensor, total: Tensor) -> Tensor:
    """Return digamma(t + x) - digamma(t) for t > 0, x ≥ 0 and total = t + x, without cancellation where t is large."""
    return torch.log1p(x / (t + (SHIFT - 0.5))) + _digamma_rest(total) - _digamma_rest(t)


def _digamma_rest(x: Tensor) -> Tensor:
    """Return digamma(x) - log(x + SHIFT - 1/2), by recurrence (terms in pairs) and the series in even powers."""
    y = x * (x + 5)
    steps = y.reciprocal() + (y + 4).reciprocal() + (y + 6).reciprocal()
    w = (x + (SHIFT - 0.5)).reciprocal()
    w = w * w
    return w * (w * (w * (w * (-127 / 30720) + 31 / 8064) - 7 / 960) + 1 / 24) - steps * (x + x + 5)


def log_gamma(x: Tensor) -> Tensor:
    """Return lnΓ(x) for x > 0, by recurrence and Stirling's series: a tenth of the cost of torch.lgamma on a CPU."""
    y = x * (x + 5)
    s = x + SHIFT
    w = s.reciprocal()
    w2 = w * w
    series = w * (w2 * (w2 * (w2 * (w2 / 1188 - 1 / 1680) + 1 / 1260) - 1 / 360) + 1 / 12)
    return (s - 0.5) * s.log() - s + 0.5 * math.log(2 * math.pi) + series - (y * (y + 4) * (y + 6)).log()
