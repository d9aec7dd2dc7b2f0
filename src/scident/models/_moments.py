"""Sums over the cells of each (context, perturbation) that say how well a table of means and deviations fits them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scident.engine.batches import Batch
from scident.models._design import BLOCKS, Design

SMALLEST = 1e-6
"""Variances of a table are at least this share of the latent's whole variance."""

FEWEST = 2
"""A condition with fewer cells takes the variance of all conditions."""


@dataclass(frozen=True)
class Moments:
    """Of every member's latents; in double precision."""

    count: Tensor
    """Cells, [members, contexts, perturbations]."""
    total: Tensor
    """Sums of the latents, [members, contexts, perturbations, latents]."""
    square: Tensor
    """Sums of their squares (and variances), the same shape."""

    @classmethod
    def of(cls, batches: Iterable[tuple[Batch, Tensor, Tensor | float]], design: Design) -> "Moments":
        """Collect batches: cells, means of their latents [members, latents, cells], and variances around these."""
        sums = [_sums(*batch, design) for batch in batches]
        return cls(*(torch.stack(parts).sum(0) for parts in zip(*sums, strict=True)))

    def permuted(self, order: Tensor) -> "Moments":
        """Return the moments of latents in another order, [members, latents]: the first is the old one order[:, 0]."""
        index = order[:, None, None].expand_as(self.total)
        return replace(self, total=self.total.gather(3, index), square=self.square.gather(3, index))

    def _over(self, block: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return (count [members, conditions, 1], total, square [members, conditions, latents]) by a block's table."""
        members, _, _, latents = self.total.shape
        sums = self.count[..., None], self.total, self.square
        if block == "tx":
            return self.count.reshape(members, -1, 1), *(s.reshape(members, -1, latents) for s in sums[1:])  # type: ignore[return-value] # three of them
        count, total, square = (s.sum(2 if block == "x" else 1) for s in sums)
        return count, total, square

    def table(self, block: str) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of all latents under each condition of a block's table.

        Conditions without cells have mean and deviation of all cells.

        Returns
        -------
        [members, conditions, latents] each.
        """
        count, total, square = self._over(block)
        cells = count.sum(1, keepdim=True)
        centre = total.sum(1, keepdim=True) / cells
        whole = square.sum(1, keepdim=True) / cells - centre**2
        mean = torch.where(count > 0, total / count.clamp(min=1), centre)
        variance = square / count.clamp(min=1) - mean**2
        variance = torch.where(count >= FEWEST, variance, whole)
        return mean, 0.5 * torch.maximum(variance, SMALLEST * whole).log()

    def tables(self, blocks: Sequence[str]) -> dict[str, Tensor]:
        """Return mean and log standard deviation of each block's own latents, [members, conditions, 2, size]."""
        return {block: torch.stack(self.table(block), 2)[..., _columns(blocks, block)] for block in BLOCKS}

    def overall(self, blocks: Sequence[str]) -> dict[str, Tensor]:
        """Return mean and log standard deviation over all cells of each block's own latents, [members, 2, size]."""
        cells = self.count.sum((1, 2))[:, None]
        mean = self.total.sum((1, 2)) / cells
        log_sd = 0.5 * (self.square.sum((1, 2)) / cells - mean**2).log()
        return {block: torch.stack([mean, log_sd], 1)[..., _columns(blocks, block)] for block in BLOCKS}

    def costs(self) -> Tensor:
        """Return the mean log standard deviation left by each block's table, nats: [members, latents, blocks]."""
        left = []
        for block in BLOCKS:
            share = self._over(block)[0] / self.count.sum((1, 2))[:, None, None]
            left.append((share * self.table(block)[1]).sum(1))
        return torch.stack(left, 2)


def _sums(batch: Batch, mean: Tensor, variance: Tensor | float, design: Design) -> tuple[Tensor, Tensor, Tensor]:
    members, latents, _ = mean.shape
    pairs = design.n_contexts * design.n_perturbations
    z = mean.double().transpose(1, 2)
    square = z**2 + (variance.double().transpose(1, 2) if isinstance(variance, Tensor) else variance)
    code = batch.contexts * design.n_perturbations + batch.labels
    both = torch.cat([torch.ones_like(z[..., :1]), z, square], 2)
    sums = both.new_zeros(members, pairs, 1 + 2 * latents)
    sums.scatter_add_(1, code[..., None].expand_as(both), both)
    shaped = sums.view(members, design.n_contexts, design.n_perturbations, -1)
    return shaped[..., 0], shaped[..., 1 : 1 + latents], shaped[..., 1 + latents :]


def _columns(blocks: Sequence[str], block: str) -> list[int]:
    return [i for i, name in enumerate(blocks) if name == block]
