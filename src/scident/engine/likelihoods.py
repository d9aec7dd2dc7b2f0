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

from scident.engine import fused


def log_means(logits: Tensor, log_library: Tensor) -> Tensor:
    """Return log m, [members, genes, cells], without ever leaving log space."""
    return log_shares(logits) + log_library


def log_shares(logits: Tensor) -> Tensor:
    """Return log softmax over genes; in a graph a difference that is made where it is used and never stored."""
    if torch.compiler.is_compiling():
        return logits - logits.logsumexp(1, keepdim=True)
    return torch.log_softmax(logits, 1)


def varying_part(counts: Tensor, logits: Tensor, log_library: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return what of log NB(counts) depends on the mean, summed over genes, nats: [members, cells]."""
    if fused.fits(counts, log_dispersion, logits, log_library) and not torch.is_grad_enabled():
        return fused.varying(counts, logits, log_library, log_dispersion)
    peak = logits.amax(1, keepdim=True)
    above = logits - peak
    share = above.exp()
    total = share.sum(1, keepdim=True)
    t = log_dispersion.exp()
    excess = log1p(share * (log_library.exp() / total) / t)
    likelihood = (counts * above - (counts + t) * excess).sum(1, keepdim=True)
    return (likelihood + counts.sum(1, keepdim=True) * (log_library - total.log()))[:, 0]


def constant_part(counts: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return what of log NB(counts) does not depend on the mean, summed over genes, nats: [members, cells], double.

    In single precision lnΓ(t) of a large t would lose its digits: at t = e^10 a cell would be wrong by 0.7 nats.
    """
    if fused.fits(counts, log_dispersion) and not torch.is_grad_enabled():
        return fused.constant(counts, log_dispersion)
    x, r = counts.double(), log_dispersion.double()
    t = r.exp()
    return (log_gamma(x + t) - log_gamma(t) - x * r - log_gamma(x + 1)).sum(1)


def stirling(s: Tensor) -> Tensor:
    """Return lnΓ(s) - ((s - 1/2) log s - s + log √2π) for s ≥ 6, to 1e-9."""
    w = s.reciprocal()
    w2 = w * w
    return w * (w2 * (w2 * (w2 * (w2 / 1188 - 1 / 1680) + 1 / 1260) - 1 / 360) + 1 / 12)


def negative_log_likelihood(counts: Tensor, logits: Tensor, log_library: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return -log NB(counts), summed over genes, nats: [members, cells].

    Parameters
    ----------
    counts
        UMI counts, [members, genes, cells].
    logits
        Inputs of the softmax, the same shape.
    log_library
        log l, [members, 1, cells].
    log_dispersion
        r = log t, [members, genes, 1].
    """
    varying = varying_part(counts, logits, log_library, log_dispersion)
    return -(varying + constant_part(counts, log_dispersion)).to(logits.dtype)


def training_loss(counts: Tensor, logits: Tensor, log_library: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return a number whose gradient is that of the negative log-likelihood, [members, cells].

    Training needs no more, and the density itself costs more than its gradient. The number is -Σ x log ρ.
    """
    kind = _FusedLoss if fused.fits(counts, log_dispersion, logits, log_library) else _TrainingLoss
    loss: Tensor = kind.apply(counts, logits, log_library, log_dispersion)  # type: ignore[no-untyped-call]
    return loss


class _TrainingLoss(torch.autograd.Function):
    """Gradient written out: d/do = softmax-projected t (m - x) / (t + m); d/dr by a digamma difference.

    Everything is a difference from the Poisson limit, so that single precision still holds where t is large.
    """

    @staticmethod
    def forward(ctx: Any, counts: Tensor, logits: Tensor, log_library: Tensor, r: Tensor) -> Tensor:
        log_rho = log_shares(logits)
        ctx.save_for_backward(counts, log_rho, log_library, r)
        return -(counts * log_rho).sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, Tensor]:
        counts, log_rho, log_library, r = ctx.saved_tensors
        (outer,) = gradients
        t, rho = r.exp(), log_rho.exp()
        mean = rho * log_library.exp()
        excess = mean - counts
        slope = excess / (mean + t) * t
        # digamma(t + x) - digamma(t) = log(1 + x/(t + START)) + a difference of small terms; that logarithm and
        # log(1 + m/t) are taken as one
        shifted = t + START
        logs = log1p((excess + mean * (START / t)) / (counts + shifted))
        slope_r = (logs - (digamma_less_log(counts + t) - digamma_less_log(t))) * t - slope
        to_logits = (slope - rho * slope.sum(1, keepdim=True)) * outer[:, None]
        return None, to_logits, None, torch.bmm(slope_r, outer[..., None])


class _FusedLoss(torch.autograd.Function):
    """The same in one pass through memory each way."""

    @staticmethod
    def forward(ctx: Any, counts: Tensor, logits: Tensor, log_library: Tensor, r: Tensor) -> Tensor:
        loss, *kept = fused.forward(counts, logits)
        ctx.save_for_backward(counts, *kept, log_library, r)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, Tensor]:
        to_logits, to_r = fused.backward(*ctx.saved_tensors, *gradients)
        return None, to_logits, None, to_r


SHIFT = 6
"""Asymptotic series start at this argument; the error of digamma's is then below 1e-9, of log-gamma's below 1e-10."""

START = SHIFT - 0.5
"""Digamma's series is in powers of its argument minus 1/2."""


def digamma_less_log(x: Tensor) -> Tensor:
    """Return digamma(x) - log(x + START) for x > 0.

    The recurrence to x + 6 adds six reciprocals, two by two over a common denominator; the rest is the series of
    digamma in even powers of 1 / (x + START).
    """
    one = x.new_ones(())  # an operation with a number of Python's costs twice one with a tensor of one
    y = torch.addcmul(x * x, one, x, value=5)
    steps = torch.addcdiv(y.reciprocal(), one, torch.add(y, one, alpha=4))
    steps = torch.addcdiv(steps, one, torch.add(y, one, alpha=6))
    w = torch.add(x, one, alpha=START).square_().reciprocal_()
    series = torch.addcmul(one, w, one, value=-(127 / 30720) / (31 / 8064))
    series = torch.addcmul(one, w, series, value=-(31 / 8064) / (7 / 960))
    series = torch.addcmul(one, w, series, value=-(7 / 960) / (1 / 24))
    return torch.addcmul(steps * torch.add(x + x, one, alpha=5), w, series, value=-1 / 24).neg_()


def log_gamma(x: Tensor) -> Tensor:
    """Return lnΓ(x) for x > 0, by recurrence and Stirling's series: a tenth of the cost of torch.lgamma on a CPU."""
    y = x * (x + 5)
    s = x + SHIFT
    return (s - 0.5) * s.log() - s + 0.5 * math.log(2 * math.pi) + stirling(s) - (y * (y + 4) * (y + 6)).log()


LOGARITHM = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
"""log(1 + f) = f - f²/2 + f³ (…) for |f| < √2 - 1 in single precision, highest power first (Moshier, Cephes, logf)."""

ROOT_HALF = 0x3F3504F3
"""Bits of √(1/2) in single precision."""


def log1p(x: Tensor) -> Tensor:
    """Return log(1 + x) for x > -1: PyTorch's, but in a graph of single precision by operations that fuse.

    There it takes half the time; the error is one unit in the last place, as PyTorch's.
    """
    if x.dtype != torch.float32 or not torch.compiler.is_compiling():
        return torch.log1p(x)
    w = 1 + x
    bits = w.view(torch.int32) - ROOT_HALF
    power = (bits >> 23).to(torch.float32)
    f = ((bits & 0x007FFFFF) + ROOT_HALF).view(torch.float32) - 1
    series = torch.full_like(f, LOGARITHM[0])
    for coefficient in LOGARITHM[1:]:
        series = series * f + coefficient
    f2 = f * f
    small = (x - (w - 1)) / w + f * f2 * series - 0.5 * f2 - power * 2.12194440e-4
    return f + small + power * 0.693359375
