"""Random numbers for many members at once: each member draws from its own stream, whoever else is in the job.

A member's stream starts anew at every epoch from (member, epoch), so a run resumed at an epoch draws what an
undisturbed run would have drawn, and nothing but the epoch number needs to be stored.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Streams:
    """One random generator per member.

    Parameters
    ----------
    seeds
        One seed sequence per member.
    device, dtype
        Of what is drawn.
    """

    def __init__(self, seeds: Sequence[np.random.SeedSequence], device: torch.device, dtype: torch.dtype) -> None:
        self.seeds = list(seeds)
        self.device, self.dtype = device, dtype
        self.generators = [torch.Generator(device) for _ in self.seeds]

    def start(self, purpose: int, epoch: int) -> None:
        """Set every stream to the beginning of its (purpose, epoch)."""
        for seed, generator in zip(self.seeds, self.generators, strict=True):
            child = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, purpose, epoch))
            generator.manual_seed(int(child.generate_state(1, np.uint64)[0]) >> 1)

    def select(self, keep: Sequence[int]) -> None:
        """Drop all members but these."""
        self.seeds = [self.seeds[i] for i in keep]
        self.generators = [self.generators[i] for i in keep]

    def permutations(self, n: int) -> Tensor:
        """Return one permutation of 0..n-1 per member, [members, n]."""
        return torch.stack([torch.randperm(n, generator=g, device=self.device) for g in self.generators])

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, [members, *shape]."""
        drawn = torch.empty(len(self.generators), *shape, device=self.device, dtype=self.dtype)
        for row, generator in zip(drawn, self.generators, strict=True):
            row.normal_(generator=generator)
        return drawn

    def logistic(self, *shape: int) -> Tensor:
        """Return standard logistic numbers, log u - log(1 - u), [members, *shape]."""
        drawn = torch.empty(len(self.generators), *shape, device=self.device, dtype=self.dtype)
        tiny = torch.finfo(self.dtype).tiny
        for row, generator in zip(drawn, self.generators, strict=True):
            row.uniform_(generator=generator)
        return torch.logit(drawn.clamp_(min=tiny, max=1 - torch.finfo(self.dtype).eps))

    def keep(self, rate: float, *shape: int) -> Tensor:
        """Return a dropout mask, 0 with probability `rate` and 1 / (1 - rate) otherwise, [members, *shape].

        Sixteen random bits decide per entry: the probability is right to 1 in 65,536.
        """
        count = int(np.prod(shape))
        words = torch.empty(len(self.generators), -(-count // 4), device=self.device, dtype=torch.int64)
        for row, generator in zip(words, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)
        bits = words.view(torch.int16)[:, :count].reshape(len(self.generators), *shape)
        return (bits >= round(rate * 65_536) - 32_768).to(self.dtype).mul_(1 / (1 - rate))
