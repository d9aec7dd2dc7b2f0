r"""The importance-weighted bound of the log-likelihood, one sample of all cells of a block at a time.

.. math:: \log \frac1S \sum_{s=1}^S \frac{p(x \mid z_s)\, p(z_s \mid k, \mathrm{mask}_s)}{q(z_s \mid x)},
    \quad z_s \sim q(z \mid x),\ \text{the mask drawn anew for each sample}

Burda, Grosse & Salakhutdinov (2016), Importance Weighted Autoencoders.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def log_weight(
    mean: Tensor,
    variance: Tensor,
    noise: Tensor,
    prior_mean: Tensor | float,
    log_likelihood: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return the log of one sample's importance weight, nats: [members, cells].

    Parameters
    ----------
    mean, variance
        Of q(z|x), [members, latents, cells].
    noise
        Standard normal numbers, the same shape: z is mean + noise times the standard deviation.
    prior_mean
        The prior is N(prior mean, I); the same shape, or a number.
    log_likelihood
        z to log p(x|z), [members, cells].
    """
    z = mean + variance.sqrt() * noise
    return log_likelihood(z) + 0.5 * (noise**2 - (z - prior_mean) ** 2 + variance.log()).sum(1)


def log_mean_weight(draw: Callable[[], Tensor], samples: int) -> Tensor:
    """Return the log of the mean of so many weights of which `draw` gives the logs, double."""
    total = draw().double()
    for _ in range(samples - 1):
        torch.logaddexp(total, draw().double(), out=total)
    return total - math.log(samples)
