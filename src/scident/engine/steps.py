"""One step of all members: of the model, and before it of its adversary where it has one."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from scident.engine.optimiser import Adam, clipped
from scident.engine.progress import Schedule
from scident.engine.stack import Stack

ADVERSARY = "adversary."
"""Names of parameters that only the adversary's loss teaches begin so; their moments' names too."""


class Steps:
    """Two optimisers that leave each other's parameters alone.

    Parameters
    ----------
    stack
        Its parameters are changed in place.
    schedule
        Adam's settings and the largest norm of a gradient.
    rates
        Learning rate of each member.
    moments
        Of each member as `moments` returned them; empty at its start.
    """

    def __init__(
        self, stack: Stack, schedule: Schedule, rates: Sequence[float], moments: Sequence[Mapping[str, Tensor]]
    ) -> None:
        self.schedule = schedule
        rivals = [name for name in stack.p if name.startswith(ADVERSARY)]
        own = [name for name in stack.p if name not in rivals]
        settings = schedule.epsilon, schedule.weight_decay
        self.model = Adam(stack, rates, *settings, moments, own)
        theirs = [_without(ADVERSARY, member) for member in moments]
        self.adversary = Adam(stack, rates, *settings, theirs, rivals) if rivals else None
        self.leaves = [stack.p[name] for name in own]
        self.rival_leaves = [stack.p[name] for name in rivals]

    def set_rates(self, rates: Sequence[float]) -> None:
        """Set the learning rate of each member."""
        self.model.set_rates(rates)
        if self.adversary is not None:
            self.adversary.set_rates(rates)

    def moments(self, k: int) -> dict[str, Tensor]:
        """Copy one member's moments out."""
        if self.adversary is None:
            return self.model.moments(k)
        return self.model.moments(k) | {ADVERSARY + name: value for name, value in self.adversary.moments(k).items()}

    def step(self, loss: Callable[[], Tensor], adversary: Callable[[], Tensor]) -> Tensor:
        """Return the model's loss, [members], after the adversary's steps and before the model's.

        Parameters
        ----------
        loss, adversary
            What the members and what their adversaries minimise, [members]; `adversary` draws noise of its own.
        """
        if self.adversary is not None:
            for _ in range(self.schedule.adversary_steps):
                self._descend(self.adversary, self.rival_leaves, adversary())
        found = loss()
        self._descend(self.model, self.leaves, found)
        return found.detach()

    def _descend(self, optimiser: Adam, leaves: Sequence[Tensor], loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss.sum(), leaves)
        optimiser.step(gradients if self.schedule.clip is None else clipped(gradients, self.schedule.clip))


def _without(prefix: str, moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in moments.items() if name.startswith(prefix)}
