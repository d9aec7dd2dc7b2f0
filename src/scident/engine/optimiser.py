"""Adam over the member axis: all members step together, each with its learning rate."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from scident.engine.stack import Stack

BETA1, BETA2 = 0.9, 0.999


class Adam:
    """Kingma & Ba (2015), Adam, with weight decay as L2 added to the gradient.

    The fused kernel is called directly: for one small network PyTorch's class spends more on bookkeeping than on it.

    Parameters
    ----------
    stack
        Its parameters are changed in place by each step.
    rates
        Learning rate of each member.
    epsilon, weight_decay
        Of all members.
    moments
        Of each member as `moments` returned them; empty at its start. All members have done equally many steps.
    names
        Which of the stack's parameters; None: all.
    """

    def __init__(
        self,
        stack: Stack,
        rates: Sequence[float],
        epsilon: float,
        weight_decay: float,
        moments: Sequence[Mapping[str, Tensor]],
        names: Sequence[str] | None = None,
    ) -> None:
        self.names = list(stack.p if names is None else names)
        self.values = [stack.p[name].detach() for name in self.names]
        self.first, self.second = ([torch.zeros_like(value) for value in self.values] for _ in range(2))
        self.steps = torch.zeros((), device=stack.device)
        self.epsilon, self.weight_decay = epsilon, weight_decay
        self.set_rates(rates)
        for k, member in enumerate(moments):
            if member:
                self.steps.copy_(member["steps"])
                for name, first, second in zip(self.names, self.first, self.second, strict=True):
                    first[k].copy_(member[f"first.{name}"])
                    second[k].copy_(member[f"second.{name}"])

    def set_rates(self, rates: Sequence[float]) -> None:
        """Set the learning rate of each member; those that share one step together."""
        self.groups = [(rate, [k for k, own in enumerate(rates) if own == rate]) for rate in sorted(set(rates))]

    def moments(self, k: int) -> dict[str, Tensor]:
        """Copy one member's moments and the number of steps out."""
        kept = {"steps": self.steps.clone().cpu()}
        for name, first, second in zip(self.names, self.first, self.second, strict=True):
            kept |= {f"first.{name}": first[k].clone().cpu(), f"second.{name}": second[k].clone().cpu()}
        return kept

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move every parameter against its gradient (in the order of the names)."""
        self.steps += 1
        gradients = [gradient.contiguous() for gradient in gradients]  # the kernel does not look at strides
        for rate, group in self.groups:
            values, slopes, first, second = (
                self._of(group, tensors) for tensors in (self.values, gradients, self.first, self.second)
            )
            torch._fused_adam_(
                values,
                slopes,
                first,
                second,
                [],
                [self.steps] * len(values),
                lr=rate,
                beta1=BETA1,
                beta2=BETA2,
                weight_decay=self.weight_decay,
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
            )

    def _of(self, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return some members' part of the tensors; whole if these are all members, which is cheaper."""
        return list(tensors) if len(self.groups) == 1 else [tensor[k] for k in group for tensor in tensors]


def clipped(gradients: Sequence[Tensor], largest: float) -> list[Tensor]:
    """Scale the gradient of each member whose norm over all tensors [members, …] is above `largest` down to it."""
    square = torch.stack([gradient.reshape(len(gradient), -1).square().sum(1) for gradient in gradients]).sum(0)
    factor = largest / square.sqrt().clamp(min=largest)
    return [gradient * factor.view(-1, *[1] * (gradient.ndim - 1)) for gradient in gradients]
