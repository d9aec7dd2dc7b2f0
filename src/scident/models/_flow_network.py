"""The density of expression under an invertible map to latents with conditional priors (fcr.md §13)."""

import math
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import torch
from torch import Tensor

from scident.engine.batches import Batch
from scident.engine.stack import Initial, Stack
from scident.engine.streams import Streams
from scident.engine.trainer import Batches, Network, Noise
from scident.models import _whitening
from scident.models._curriculum import Curriculum, taken
from scident.models._design import Design
from scident.models._flow import Flow
from scident.models._priors import Priors


class FlowNetwork(Network):
    """Reads whitened principal components, as many as latents; z = flow(components), priors are free tables."""

    def __init__(self, params: Any, design: Design) -> None:
        self.params, self.design = params, design
        self.flow = Flow(design.n_latents, params.couplings, params.width)
        self.priors = Priors("tables", design)
        self.curriculum = Curriculum(params.epochs, design)

    def parameters(self) -> dict[str, Initial]:
        """Declare the map and the priors."""
        return self.flow.parameters() | self.priors.parameters()

    def buffers(self) -> dict[str, Initial]:
        """Declare the whitening."""
        return _whitening.buffers(self.design.n_genes, self.design.n_latents)

    def prepare(self, train: ad.AnnData) -> dict[str, np.ndarray]:
        """Return the whitening found on training cells."""
        return _whitening.fit(train, self.design.n_latents)

    def resident(self, cells: ad.AnnData, prepared: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the whitened components, [cells, latents]."""
        return _whitening.scores(cells, prepared)[0]

    def log_density(self, stack: Stack, batch: Batch, bend: Tensor | float = 1.0) -> Tensor:
        """Return the log-density of the whitened components given context and perturbation, nats: [members, cells]."""
        z, log_volume = self.flow.forward(stack, batch.counts, bend)
        mean, log_sd = self.priors(stack, batch.contexts, batch.labels)
        quadratic = ((z - mean) * (-log_sd).exp()).square()
        constant = 0.5 * self.design.n_latents * math.log(2 * math.pi)
        return log_volume - (0.5 * quadratic + log_sd).sum(1) - constant

    def loss(self, stack: Stack, batch: Batch, noise: Noise, epoch: Tensor) -> Tensor:
        """Return the mean negative log-density, [members]."""
        return -self.log_density(stack, batch, self.curriculum.bend(epoch)).mean(1)

    def validate(self, stack: Stack, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Return the summed negative log-density of the whitened components."""
        return {"nelbo": -self.log_density(stack, batch).sum(1)}

    @torch.no_grad()
    def turn(self, stack: Stack, streams: Streams, epoch: int, cells: Batches) -> bool:
        """Re-assign latents to blocks when the curriculum says so."""

        def encode(batch: Batch) -> tuple[Tensor, float]:
            return self.flow.forward(stack, batch.counts)[0], 0.0

        def permute(order: Tensor) -> None:
            for name in ("flow.linear", "flow.offset"):
                stack.p[name][:, -1].copy_(taken(stack.p[name][:, -1], order, 1))

        return self.curriculum.turn(stack, epoch, cells, encode, permute, self.priors)
