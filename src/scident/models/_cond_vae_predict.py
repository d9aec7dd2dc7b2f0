"""Mean expression of conditions from a trained conditional VAE: cells are drawn, counts and all, and averaged.

The mean of log-normalised counts is not the log of the mean count, so a model of counts must draw them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import anndata as ad
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scident import io
from scident.engine.batches import SMALLEST_LIBRARY, Batch, Cells, chunks
from scident.engine.likelihoods import log_means
from scident.engine.stack import Stack
from scident.expression import normalised
from scident.types import Predictions, Request, conditions_of

DRAWS = 500
"""Cells drawn for each condition and kind."""

CHUNK = 2048
"""Most cells encoded at once."""

Opened = Callable[[ad.AnnData], tuple[Any, Stack, Cells]]
"""Cells to a network, its one member and the cells in memory."""


def predict(
    opened: Opened, trained: Bool[np.ndarray, " parts"], request: Request, rng: np.random.Generator
) -> Predictions:
    """Average `DRAWS` drawn cells of each condition.

    counterfactual: z of seen control cells of the context, the dosage changed. label_only: z from the prior, libraries
    of seen cells of the context. A condition with a part or a context never trained on has neither, one whose context
    has no controls no counterfactual.

    Parameters
    ----------
    opened
        How the model opens cells.
    trained
        Which single perturbations were trained on.
    request
        What is asked for.
    rng
        Of all draws.
    """
    source = _Source(opened, request.seen, rng)
    rows, drawn = [], []
    for position, condition in enumerate(conditions_of(request.conditions)):
        code = int(request.seen.obs["perturbation"].cat.categories.astype(str).get_loc(condition["perturbation"]))
        if trained[list(source.network.design.parts[code])].all():
            for kind, cells in source.drawn(code, condition["context"]):
                rows.append((position, kind))
                drawn.append((cells.mean(0), cells.var(0, ddof=1) / len(cells)))
    obs = request.conditions.iloc[[position for position, _ in rows]].assign(kind=[kind for _, kind in rows])
    mean, noise = (
        np.array([pair[i] for pair in drawn], dtype=np.float64).reshape(len(rows), request.seen.n_vars) for i in (0, 1)
    )
    return Predictions(obs.reset_index(drop=True), mean, noise)


class _Source:
    """What predictions of one model are drawn from; only control cells are encoded."""

    def __init__(self, opened: Opened, seen: ad.AnnData, rng: np.random.Generator) -> None:
        self.rng = rng
        self.context = seen.obs["context"].astype(str).to_numpy()
        self.controls = np.flatnonzero(seen.obs["is_control"].to_numpy(dtype=bool))
        library = np.asarray(seen.X.sum(1), dtype=np.float64).reshape(-1)
        self.log_library = np.log(np.maximum(library, SMALLEST_LIBRARY))
        encoded = self.controls if len(self.controls) else np.arange(1)
        self.network, self.stack, cells = opened(io.subset(seen, encoded))
        self.posterior = self._encoded(cells, len(encoded))

    @torch.no_grad()
    def _encoded(self, cells: Cells, count: int) -> tuple[Tensor, Tensor]:
        """Return mean and variance of q(z|x), [1, latents, cells] each."""
        rows = (torch.arange(start, stop)[None] for start, stop in chunks(count, CHUNK))
        found = [self.network.encode(self.stack, cells.gather(row)) for row in rows]
        return torch.cat([mean for mean, _ in found], 2), torch.cat([variance for _, variance in found], 2)

    def drawn(self, code: int, context: str) -> Iterator[tuple[str, Float[np.ndarray, "cells genes"]]]:
        """Yield (kind, expression of drawn cells)."""
        if context not in self.network.design.contexts:
            return
        normal = torch.from_numpy(self.rng.standard_normal((1, self.network.n_latents, DRAWS))).to(self.stack.dtype)
        own = np.flatnonzero(self.context[self.controls] == context)
        if len(own):
            chosen = self.rng.choice(own, DRAWS)
            mean, variance = (part[..., chosen] for part in self.posterior)
            z = mean + variance.sqrt() * normal
            yield "counterfactual", self._cells(z, self.controls[chosen], code, context)
        like = self.rng.choice(np.flatnonzero(self.context == context), DRAWS)
        yield "label_only", self._cells(normal, like, code, context)

    @torch.no_grad()
    def _cells(
        self, z: Tensor, like: Int[np.ndarray, " cells"], code: int, context: str
    ) -> Float[np.ndarray, "cells genes"]:
        """Return expression of cells of a condition that have the libraries of the seen cells `like`."""
        design = self.network.design
        log_library = torch.from_numpy(self.log_library[like]).to(self.stack.dtype)[None, None]
        codes = [torch.full((1, len(like)), number) for number in (code, design.contexts.index(context))]
        batch = Batch(z.new_empty(1, 0, len(like)), log_library, *codes)
        out = self.network.decode(self.stack, self.network.beside(self.stack, batch, z), training=False)
        if design.observation == "normal":
            means: np.ndarray = out[0].T.double().numpy()
            return means
        rate = log_means(out, log_library)[0].T.double().exp().numpy()
        shape = self.stack.p["log_dispersion"][0, :, 0].detach().double().exp().numpy()
        return normalised(self.rng.poisson(rate * self.rng.gamma(shape, 1 / shape, rate.shape)).astype(np.float64))
