"""The model that every variant of FCR is: what a trained network gives (fcr.md §4-6)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scipy.special import ndtri

from scident import io
from scident.engine.batches import Cells, chunks
from scident.engine.iwelbo import log_mean_weight
from scident.engine.progress import Schedule
from scident.engine.stack import Stack
from scident.engine.streams import Streams
from scident.errors import ConfigError
from scident.models._batched import BatchedModel, cells_of
from scident.models._design import Design, block_names, context_codes
from scident.models._fcr_network import FCRNetwork, Path
from scident.models._fcr_predict import predict
from scident.models._priors import extrapolated
from scident.types import Latents, Likelihood, Predictions, Request

CHUNK = 1024
"""Most cells whose latents or likelihood are computed at once."""

DRAWS = 10
"""Draws of z per cell behind a reported negative ELBO (metrics.md §2e)."""

EXPORTED = {"x": 0.2, "tx": 0.001, "t": 0.005}
"""Standard deviations of the noise on exported means (S10)."""


class FCRModel(BatchedModel):
    """FCR; a variant is a file with other defaults of the same parameters."""

    along_members = frozenset({"learning_rate", "decay", "patience"})
    knows_contexts = True

    @classmethod
    def network(cls, params: Any, design: Design) -> FCRNetwork:
        """Return the network."""
        if params.likelihood == "negative_binomial" and design.observation != "counts":
            raise ConfigError(
                "likelihood: negative_binomial needs counts, but these cells hold real numbers; use normal"
            )
        return FCRNetwork(params, design)

    @classmethod
    def schedule(cls, params: Any) -> Schedule:
        """Return how all members of a stack are trained."""
        return replace(super().schedule(params), adversary_steps=params.discriminator_steps)

    @classmethod
    def block_names(cls, params: Any, n_latents: int) -> tuple[str, ...]:
        """Return the block of each latent, in the order x, tx, t."""
        return block_names(params.sizes, n_latents)

    @classmethod
    def hyper(cls, params: Any, train: ad.AnnData) -> dict[str, float]:
        """Return the epochs over which ω3 rises."""
        return {"ramp_epochs": params.ramp * params.epochs}

    def finish(self, train: ad.AnnData) -> None:
        """Let tables of pairs never trained on follow from the others."""
        if "prior.tx" not in self.state:
            return
        design = self.design(train)
        trained = np.zeros((design.n_contexts, design.n_perturbations), dtype=bool)
        trained[context_codes(train, design.contexts), train.obs["perturbation"].cat.codes] = True
        self.state["prior.tx"] = extrapolated(self.state["prior.tx"], trained)

    def blocks(self) -> tuple[str, ...]:
        """Return the block of each latent."""
        return self.block_names(self.params, self.n_latents)

    def opened(self, cells: ad.AnnData, labelled: bool = True) -> tuple[FCRNetwork, Stack, Cells]:
        """Return the network, a stack of this member and some cells in memory.

        `labelled` False: contexts are not looked at, so they may be new.
        """
        network, stack = self.stack(cells)
        assert isinstance(network, FCRNetwork)
        expression = network.resident(cells, self.state)
        design = network.design if labelled else None
        return network, stack, cells_of([cells], [expression], design, stack.device, stack.dtype)

    def _paths(self, cells: ad.AnnData, labelled: bool = True) -> Iterator[tuple[FCRNetwork, Stack, Path]]:
        network, stack, data = self.opened(cells, labelled)
        for start, stop in chunks(cells.n_obs, CHUNK):
            yield network, stack, network.own(stack, data.gather(torch.arange(start, stop)[None]))

    @property
    def _reads_labels(self) -> bool:
        params: Any = self.params
        return bool(params.posterior != "expression")

    @torch.no_grad()
    def embed(self, cells: ad.AnnData) -> Latents:
        """Return posterior means, [cells, latents], by running statistics; with `export_noise` as the authors do."""
        params: Any = self.params
        parts = [net.latents(stack, path)[0].T for net, stack, path in self._paths(cells, self._reads_labels)]
        found = torch.cat(parts).double().numpy()
        return found + self._export_noise(cells) if params.export_noise else found

    def _export_noise(self, cells: ad.AnnData) -> Latents:
        """Draw noise that depends on a cell's name alone, so that it does not depend on the order of cells."""
        names = cells.obs_names.to_numpy(dtype=object)
        hashed = [pd.util.hash_array(names, hash_key=f"{column:016d}") for column in range(self.n_latents)]
        uniform = (np.column_stack(hashed).astype(np.float64) + 0.5) / 2.0**64
        noise: Latents = ndtri(uniform.clip(1e-15, 1 - 1e-15)) * [EXPORTED[block] for block in self.blocks()]
        return noise

    @torch.no_grad()
    def companions(self, cells: ad.AnnData, rng: np.random.Generator) -> dict[str, Latents]:
        """Return prior means and posterior means under shuffled expression where the posterior reads labels."""
        if not self._reads_labels:
            return {}
        parts = [net.prior(stack, path.contexts, path.labels).mean[0].T for net, stack, path in self._paths(cells)]
        shuffled = io.subset(cells, np.arange(cells.n_obs))
        shuffled.X = cells.X[rng.permutation(cells.n_obs)]
        return {"prior_only": torch.cat(parts).double().numpy(), "shuffled_expression": self.embed(shuffled)}

    @torch.no_grad()
    def likelihood(self, cells: ad.AnnData, rng: np.random.Generator, samples: int = 0) -> Likelihood:
        """Return R + KL of each cell averaged over draws of z, and IWELBO from so many, nats of what is modelled."""
        first, second = (_streams(rng, self.dtype) for _ in range(2))
        nelbo, bounds = [], []
        for net, stack, path in self._paths(cells):
            shape = self.n_latents, path.labels.shape[1]
            draws = [net.local_terms(stack, path, first.normal(*shape))[:2] for _ in range(DRAWS)]
            nelbo.append(torch.stack([(r + kl)[0].double() for r, kl in draws]).mean(0))
            if samples:
                weight = net.weigher(stack, path)
                bounds.append(log_mean_weight(lambda w=weight, s=shape: w(second.normal(*s)), samples)[0])  # type: ignore[misc] # bound now
        return Likelihood(torch.cat(nelbo).numpy(), torch.cat(bounds).numpy() if samples else None)

    @torch.no_grad()
    def predict(self, request: Request, rng: np.random.Generator) -> Predictions:
        """Return reconstruction, counterfactual and label-only predictions (fcr.md §10.3, P1-P3)."""
        return predict(self.opened, request, _streams(rng, self.dtype))


def _streams(rng: np.random.Generator, dtype: torch.dtype) -> Streams:
    streams = Streams([np.random.SeedSequence(int(rng.integers(2**63)))], torch.device("cpu"), dtype)
    streams.start(0, 0)
    return streams
