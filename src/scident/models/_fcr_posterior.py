"""FCR's posteriors (fcr.md §4.3): from expression alone, from expression and labels by three networks, or by one.

Labels enter as indicators of the context and of the perturbation, the control's indicator being all zeros.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from scident.engine import layers
from scident.engine.stack import Initial, Stack, constant
from scident.models import _fcr_nets as nets
from scident.models._curriculum import taken
from scident.models._design import BLOCKS, Design
from scident.models._fcr_observation import scale
from scident.models._fcr_terms import Gaussian

OUTCOME = 256
"""Units of the published embedding of expression."""

FIRST_SCALE = -2.0
"""Raw posterior scale at the linear start: softplus gives 0.13."""

LABELS = {"expression": {"": ""}, "joint": {"": "xt"}, "labels": {"x": "x", "tx": "xt", "t": "t"}}
"""By kind of posterior: its networks, and which labels each sees."""


class Posterior:
    """Diagonal Gaussians of the blocks x, tx and t from centred expression [members, genes, cells] and labels."""

    def __init__(self, params: Any, design: Design) -> None:
        self.params, self.design = params, design
        self.kind: str = params.network
        self.seen = {f"posterior{name}": labels for name, labels in LABELS[params.posterior].items()}
        """Labels that each network sees."""
        sizes = dict(zip(BLOCKS, design.sizes, strict=True))
        self.sizes = {f"posterior{block}": sizes.get(block, design.n_latents) for block in LABELS[params.posterior]}
        """Latents that each network gives."""
        self.components = min(params.n_components, design.n_genes)

    def declare(self) -> nets.Declared:
        """Declare (parameters, buffers)."""
        widths = {"x": self.design.n_contexts, "t": self.design.n_perturbations}
        outcome = self.components if self.kind == "skip" else OUTCOME
        parameters: dict[str, Initial] = {}
        buffers: dict[str, Initial] = {}
        if self.kind == "skip":
            buffers["components"] = constant(0, self.components, self.design.n_genes)
        for name, labels in self.seen.items():
            if self.kind == "relu":
                parameters |= layers.linear_parameters(f"{name}_outcome", self.design.n_genes, OUTCOME)
            inputs = outcome + sum(widths[label] for label in labels)
            declared = nets.declare(
                self.kind, name, inputs, 2 * self.sizes[name], self.params.width, self.params.layers
            )
            parameters |= declared[0]
            buffers |= declared[1]
        return parameters, buffers

    def __call__(
        self,
        stack: Stack,
        centred: Tensor,
        contexts: Tensor,
        labels: Tensor,
        training: bool = False,
        bend: Tensor | None = None,
    ) -> Gaussian:
        """Return q(z | cell); `bend` multiplies the nonlinear branches."""
        indicators = {"x": lambda: self._context(contexts, centred), "t": lambda: self._perturbation(labels, centred)}
        whitened = torch.bmm(stack.b["components"], centred) if self.kind == "skip" else None
        heads = []
        for name, seen in self.seen.items():
            outcome = whitened
            if outcome is None:
                outcome = F.relu(layers.linear(stack, f"{name}_outcome", centred + stack.b["center"]))
            inputs = torch.cat([outcome, *(indicators[label]() for label in seen)], 1) if seen else outcome
            heads.append(nets.apply(self.kind, stack, name, inputs, training, bend).chunk(2, 1))
        mean, raw = (torch.cat([head[i] for head in heads], 1) if len(heads) > 1 else heads[0][i] for i in (0, 1))
        return gaussian(mean, raw, self.params.relu_heads)

    def _context(self, contexts: Tensor, like: Tensor) -> Tensor:
        return F.one_hot(contexts, self.design.n_contexts).transpose(1, 2).to(like.dtype)

    def _perturbation(self, labels: Tensor, like: Tensor) -> Tensor:
        found = F.one_hot(labels, self.design.n_perturbations).transpose(1, 2).to(like.dtype)
        if self.design.control is not None:
            found[:, self.design.control] = 0
        return found

    def start(self, stack: Stack, turn: Tensor | None) -> Tensor:
        """Let the linear part give the first principal components, in place; return what leads back to expression.

        Parameters
        ----------
        stack
            With this object's parameters.
        turn
            Orthogonal matrix the components are multiplied by, [members, latents, latents]; None: the identity.

        Returns
        -------
        Loadings, [members, genes, latents]; of no effect where there are more latents than components.
        """
        (name,) = self.seen
        components, latents = stack.b["components"], self.design.n_latents
        used = min(self.components, latents)
        weight, bias = stack.p[f"{name}_skip.weight"], stack.p[f"{name}_skip.bias"]
        if turn is None:
            turn = torch.eye(latents, device=weight.device, dtype=weight.dtype).expand(len(weight), -1, -1)
        weight.zero_()
        bias.zero_()
        weight[:, :latents, :used] = turn[..., :used]
        bias[:, latents:] = FIRST_SCALE
        back = components[:, :used].transpose(1, 2) / (components[:, :used] ** 2).sum(2)[:, None].clamp(min=1e-12)
        return torch.bmm(back, turn[..., :used].transpose(1, 2))

    def permute(self, stack: Stack, order: Tensor) -> None:
        """Put the latents into another order, [members, latents], in place; only where one network gives them all."""
        (name,) = self.seen
        both = torch.cat([order, order + self.design.n_latents], 1)
        for end in nets.ends(self.kind, name):
            value = stack.p[end]
            value.copy_(taken(value, both, 1))


def gaussian(mean: Tensor, raw: Tensor, relu_heads: bool) -> Gaussian:
    """Return the distribution of outputs of a network; `relu_heads`: as the authors have it (S3)."""
    if relu_heads:
        mean, raw = mean.relu(), raw.relu()
    return Gaussian(mean, scale(raw).log())
