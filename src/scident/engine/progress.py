"""How members are trained, and where each stands."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from scident.engine.stack import MemberState


@dataclass(frozen=True)
class Schedule:
    """How members are trained; equal for all members of one call but for what stands in ``stack.h``."""

    batch_size: int = 128
    epsilon: float = 0.01
    """Adam's eps."""
    weight_decay: float = 1e-6
    """L2 added to the gradient."""
    compiled: bool = False
    """Compile the loss, if a compiler works."""
    products: torch.dtype | None = None
    """Precision of matrix products; None: that of everything else."""
    clip: float | None = None
    """Largest norm of a member's gradient, over all its parameters; None: any."""
    adversary_steps: int = 1
    """Steps of the adversary before each step of the model, where the network has one."""


@dataclass
class Progress:
    """Where one member stands; everything a resumed run needs."""

    state: MemberState
    seed: np.random.SeedSequence
    rows: tuple[int, int]
    """First row of the member's training and validation cells."""
    learning_rate: float
    epochs: int
    patience: int
    """Validation epochs without a new best after which the member stops."""
    decay: float = 0.0
    """Share of the epochs, at the end, over which the learning rate falls to 0."""
    cosine: bool = False
    """It falls as half a cosine; False: linearly."""
    epoch: int = 0
    best: float = np.inf
    waited: int = 0
    moments: dict[str, Tensor] = field(default_factory=dict)
    """As `Adam.moments` returns them."""
    history: list[tuple[int, str, float]] = field(default_factory=list)
    failure: str = ""
    done: bool = False

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        falling = self.decay * self.epochs
        left = min(1.0, (self.epochs - epoch) / falling) if falling else 1.0
        return self.learning_rate * ((1 - math.cos(math.pi * left)) / 2 if self.cosine else left)
