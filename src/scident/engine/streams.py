"""Random numbers for many members at once: each member draws from its own stream, whoever else is in the job.

A member's stream starts anew at every epoch from (member, epoch), so a run resumed at an epoch draws what an
undisturbed run would have drawn, and nothing but the epoch number needs to be stored.
"""

import math
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
        self.bits = [np.random.SFC64(seed) for seed in self.seeds]
        """Sources of plain random bits on the CPU, twice as fast there as PyTorch's."""

    def start(self, purpose: int, epoch: int) -> None:
        """Set every stream to the beginning of its (purpose, epoch)."""
        children = [np.random.SeedSequence(s.entropy, spawn_key=(*s.spawn_key, purpose, epoch)) for s in self.seeds]
        for child, generator in zip(children, self.generators, strict=True):
            generator.manual_seed(int(child.generate_state(1, np.uint64)[0]) >> 1)
        self.bits = [np.random.SFC64(child) for child in children]

    def select(self, keep: Sequence[int]) -> None:
        """Drop all members but these."""
        self.seeds = [self.seeds[i] for i in keep]
        self.generators = [self.generators[i] for i in keep]
        self.bits = [self.bits[i] for i in keep]

    def permutations(self, n: int) -> Tensor:
        """Return one permutation of 0..n-1 per member, [members, n]."""
        return torch.stack([torch.randperm(n, generator=g, device=self.device) for g in self.generators])

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, [members, *shape]."""
        drawn = torch.empty(len(self.generators), *shape, device=self.device, dtype=self.dtype)
        for row, generator in zip(drawn, self.generators, strict=True):
            row.normal_(generator=generator)
        return drawn

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers uniform on [0, 1), [members, *shape]."""
        drawn = torch.empty(len(self.generators), *shape, device=self.device, dtype=self.dtype)
        for row, generator in zip(drawn, self.generators, strict=True):
            row.uniform_(generator=generator)
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
        count = math.prod(shape)
        threshold, scale = round(rate * 65_536) - 32_768, 1 / (1 - rate)
        if self.device.type == "cpu":
            kept = torch.empty(len(self.bits), *shape, dtype=self.dtype)
            for row, source in zip(kept.view(-1, count).numpy(), self.bits, strict=True):
                row[:] = source.random_raw(-(-count // 4)).view(np.int16)[:count] >= threshold
            return kept.mul_(scale)
        words = torch.empty(len(self.generators), -(-count // 4), device=self.device, dtype=torch.int64)
        for row, generator in zip(words, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)
        bits = words.view(torch.int16)[:, :count].reshape(len(self.generators), *shape)
        return (bits >= threshold).to(self.dtype).mul_(scale)
