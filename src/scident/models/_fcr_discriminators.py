"""FCR's permutation discriminators (fcr.md §5.5): can (z_x, z_tx) of one cell be told from those of two of one context?

D_x compares within contexts, D_t (z_t, z_tx) within perturbations. They minimise their cross-entropy, the encoder
maximises it; at ln 2 the blocks are independent given the label.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from scident.engine import layers
from scident.engine.batches import Batch
from scident.engine.stack import Initial, Stack
from scident.engine.streams import Streams
from scident.engine.trainer import Noise
from scident.models._design import Design
from scident.models._fcr_params import FCRParams
from scident.models._fcr_terms import Gaussian, derangement, group_means, looked_up, pair_loss

WIDTH = 64
"""Units of the one hidden layer."""

STANDARDISED_EPS = 1e-5

Pairs = tuple[str, Tensor, Tensor, Tensor]
"""Block (x or t), real pairs and made-up pairs [members, latents, cells], and which cells count [members, cells]."""


class Discriminators:
    """D_x and D_t; their parameters' names begin with "adversary.", so that only their own loss teaches them.

    They read latents standardised over the batch: the scale of a latent is arbitrary under learned priors, and an
    encoder could else hide by shrinking.
    """

    def __init__(self, params: FCRParams, design: Design) -> None:
        self.resampled, self.gradient = params.negatives == "resampled", params.encoder_gradient
        self.design = design
        d_x, d_tx, _ = design.sizes
        self.x, self.tx, self.t = slice(d_x), slice(d_x, d_x + d_tx), slice(d_x + d_tx, None)

    def parameters(self) -> dict[str, Initial]:
        """Declare both."""
        d_x, d_tx, d_t = self.design.sizes
        found: dict[str, Initial] = {}
        for name, inputs in (("adversary.x", d_x + d_tx), ("adversary.t", d_tx + d_t)):
            found |= layers.linear_parameters(f"{name}.0", inputs, WIDTH)
            found |= layers.linear_parameters(f"{name}.1", WIDTH, 1)
        return found

    def noise(self, streams: Streams, cells: int) -> Noise:
        """Draw the random orders of both permutations or, for S8, the noise of a second draw of z_tx."""
        if self.resampled:
            return {"again": streams.normal(self.design.sizes[1], cells)}
        return {f"order_{block}": streams.permutations(cells) for block in "xt"}

    def loss(self, stack: Stack, q: Gaussian, z: Tensor, batch: Batch, noise: Noise) -> Tensor:
        """Return the mean of both cross-entropies, nats: [members].

        Parameters
        ----------
        stack
            With the discriminators' parameters.
        q, z
            Posteriors of the batch's cells, and the draw that real pairs are made of.
        batch
            For its labels.
        noise
            From `noise`.
        """
        if not self.gradient:
            q, z = Gaussian(q.mean.detach(), q.log_sd.detach()), z.detach()
        pairs = self.pairs(q, z, batch, noise)
        return 0.5 * torch.stack([self._cross_entropy(stack, *one) for one in pairs]).sum(0)

    def pairs(self, q: Gaussian, z: Tensor, batch: Batch, noise: Noise) -> list[Pairs]:
        """Return what D_x and D_t compare."""
        if self.resampled:
            return self._resampled(q, z, batch, noise)
        z, found = standardised(z), []
        for block, codes in (("x", batch.contexts), ("t", batch.labels)):
            partner, counted = derangement(codes, noise[f"order_{block}"])
            found.append(
                (block, self._pair(block, z), self._pair(block, z, looked_up(z[:, self.tx], partner)), counted)
            )
        return found

    def _resampled(self, q: Gaussian, z: Tensor, batch: Batch, noise: Noise) -> list[Pairs]:
        """S8: made-up pairs hold a second draw of the same cells, and draws are averaged over each (x, t)."""
        again = Gaussian(q.mean[:, self.tx], q.log_sd[:, self.tx]).sample(noise["again"])
        codes = batch.contexts * self.design.n_perturbations + batch.labels
        conditions = self.design.n_contexts * self.design.n_perturbations
        means, _ = group_means(torch.cat([z, again], 1), codes, conditions)
        values = looked_up(means, codes)
        z, again = standardised(values[:, : z.shape[1]]), standardised(values[:, z.shape[1] :])
        every = torch.ones_like(batch.labels, dtype=torch.bool)
        return [(block, self._pair(block, z), self._pair(block, z, again), every) for block in "xt"]

    def _pair(self, block: str, z: Tensor, other: Tensor | None = None) -> Tensor:
        """Return z_x or z_t above z_tx, or above another z_tx, [members, latents, cells]."""
        return torch.cat([z[:, self.x if block == "x" else self.t], z[:, self.tx] if other is None else other], 1)

    def _cross_entropy(self, stack: Stack, block: str, real: Tensor, made: Tensor, counted: Tensor) -> Tensor:
        hidden = F.relu(layers.linear(stack, f"adversary.{block}.0", torch.cat([real, made], 2)))
        logits = layers.linear(stack, f"adversary.{block}.1", hidden)[:, 0]
        found, invented = logits.chunk(2, 1)
        return pair_loss(found, invented, counted)


def standardised(z: Tensor) -> Tensor:
    """Return latents of mean 0 and variance 1 over the cells of each member."""
    members, latents, cells = z.shape
    found = F.batch_norm(z.reshape(1, members * latents, cells), None, None, training=True, eps=STANDARDISED_EPS)
    return found.view(members, latents, cells)
