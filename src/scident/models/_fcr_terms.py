r"""Terms of FCR's objective beside reconstruction (fcr.md §5): divergences, similarity, labels, permuted pairs.

Tensors are [members, features, cells]; codes of groups are [members, cells]; every function draws nothing.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """A diagonal normal distribution of each cell's latents, [members, latents, cells] each."""

    mean: Tensor
    log_sd: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + noise × standard deviation."""
        return torch.addcmul(self.mean, self.log_sd.exp(), noise)

    def log_density(self, z: Tensor) -> Tensor:
        """Return log N(z) without its -½ log 2π, summed over latents, nats: [members, cells]."""
        return -(self.log_sd + 0.5 * ((z - self.mean) * (-self.log_sd).exp()) ** 2).sum(1)


def kl(q: Gaussian, p: Gaussian) -> Tensor:
    """Return KL(q || p) of each latent, nats: [members, latents, cells]."""
    ratio = 2 * (q.log_sd - p.log_sd)
    return 0.5 * (ratio.exp() + ((q.mean - p.mean) * (-p.log_sd).exp()) ** 2 - 1 - ratio)


def released_kl(q: Gaussian, p: Gaussian) -> Tensor:
    """Return what the authors' code takes for the KL (fcr.md §9, S5), each latent: p first, no variance of the mean."""
    ratio = 2 * (p.log_sd - q.log_sd)
    return -0.5 * (1 + ratio - (q.mean - p.mean) ** 2 - ratio.exp())


def group_means(values: Tensor, codes: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return means over the cells of each group [members, features, groups] and numbers of cells [members, groups]."""
    members, features, _ = values.shape
    counts = values.new_zeros(members, groups).scatter_add_(1, codes, values.new_ones(codes.shape))
    index = codes[:, None].expand(-1, features, -1)
    total = values.new_zeros(members, features, groups).scatter_add(2, index, values)
    return total / counts.clamp(min=1)[:, None], counts


def marginal_kl(q: Gaussian, p: Gaussian, codes: Tensor, groups: int) -> Tensor:
    """Return the released divergence of means and deviations averaged over the cells of each group (S6), [members].

    Summed over latents and over the groups that have cells.
    """

    def averaged(one: Gaussian) -> tuple[Gaussian, Tensor]:
        both, counts = group_means(torch.cat([one.mean, one.log_sd.exp()], 1), codes, groups)
        mean, sd = both.chunk(2, 1)
        return Gaussian(mean, torch.where(counts[:, None] > 0, sd, 1).log()), counts

    (mean_q, counts), (mean_p, _) = averaged(q), averaged(p)
    return (released_kl(mean_q, mean_p).sum(1) * (counts > 0)).sum(1)


def similarity(
    own: tuple[Tensor, Tensor], partner: tuple[Tensor, Tensor], has_partner: Tensor, treated: Tensor
) -> Tensor:
    """Return the mean of cos(m_t, m_t⁰) - cos(m_x, m_x⁰) over the cells that have a partner, [members].

    A control cell's own m_t takes no part: there is nothing to drive apart.

    Parameters
    ----------
    own, partner
        Posterior means of (z_x, z_t) of the cells and of their control partners.
    has_partner, treated
        Booleans, [members, cells].
    """
    same = F.cosine_similarity(own[0], partner[0], dim=1)
    apart = F.cosine_similarity(own[1], partner[1], dim=1) * treated
    return ((apart - same) * has_partner).sum(1) / has_partner.sum(1).clamp(min=1)


def label_loss(logits: Tensor, codes: Tensor, twice: bool = False) -> Tensor:
    """Return the mean cross-entropy of logits [members, classes, cells], nats: [members].

    `twice`: a softmax before the cross-entropy's own, as the authors have it (S7).
    """
    logits = torch.softmax(logits, 1) if twice else logits
    return F.cross_entropy(logits, codes, reduction="none").mean(1)


def derangement(codes: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Permute cells within groups so that every cell of a group of two or more gets another cell of it.

    The cells of a group stand in random order on a circle, and each looks at the next.

    Parameters
    ----------
    codes
        Group of each cell, [members, cells].
    order
        A random permutation of 0..cells-1 per member, [members, cells].

    Returns
    -------
    The cell each cell looks at, [members, cells], and whether that is another cell.
    """
    n = codes.shape[1]
    ranks = codes * n + order
    sorted_cells = ranks.argsort(1)
    groups = codes.gather(1, sorted_cells)
    position = torch.arange(n, device=codes.device).expand_as(codes)
    begins = F.pad(groups[:, 1:] != groups[:, :-1], (1, 0), value=True)
    first = torch.where(begins, position, 0).cummax(1).values
    ends = F.pad(begins[:, 1:], (0, 1), value=True)
    following = torch.where(ends, first, position + 1)
    partner = torch.empty_like(codes).scatter_(1, sorted_cells, sorted_cells.gather(1, following))
    return partner, partner != position


def looked_up(values: Tensor, cells: Tensor) -> Tensor:
    """Return the values of other cells, [members, features, cells]; `cells` is [members, cells]."""
    return values.gather(2, cells[:, None].expand(-1, values.shape[1], -1))


def pair_loss(real: Tensor, made: Tensor, counted: Tensor) -> Tensor:
    """Return the binary cross-entropy of logits of real (1) and made-up (0) pairs over counted cells, nats: [members].

    Chance level is ln 2; without any counted cell the value is 0.
    """
    losses = F.softplus(-real) + F.softplus(made)
    return 0.5 * (losses * counted).sum(1) / counted.sum(1).clamp(min=1)
