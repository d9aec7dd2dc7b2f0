"""FCR's factorised priors under an exact likelihood: an invertible map instead of encoder and decoder (fcr.md §13)."""

from collections.abc import Mapping
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field

from scident.engine.batches import chunks
from scident.engine.stack import Stack
from scident.info import ModelInfo
from scident.models import _whitening
from scident.models._batched import BatchedModel, BatchedParams, cells_of
from scident.models._design import Design, block_names, context_names
from scident.models._flow_network import FlowNetwork
from scident.models._priors import complete
from scident.types import Latents, Likelihood, Predictions, Request

info = ModelInfo(
    label="FCR flow",
    source="this project; priors of Mao, Lopez, Liu, Hütter, Richmond, Benos & Qiu 2024, NeurIPS, arXiv 2410.22472",
    role="method",
    gives=("latents", "likelihood", "predictions"),
    label_conditioned=True,
    identifiability="component",
    assumes="context, perturbation and their interaction each have latents of their own, and means and variances vary "
    "enough between conditions; expression lies near a smooth surface of as many dimensions as latents",
    likelihood="exact: density of log-normalised expression",
    note="the bound is the log-likelihood itself: of the leading principal components by the flow, of the others as "
    "independent Gaussians of one variance; latents depend on expression alone, not on labels",
)

DRAWS = 2000
"""Latents drawn for a predicted mean without control cells."""

CHUNK = 4096

Scores = Float[np.ndarray, "cells components"]


class Params(BatchedParams):
    """Parameters of the flow; defaults are what recovered the latents of simulated worlds (fcr.md §13)."""

    epochs: int = Field(40, ge=0, description="Passes over the training cells; about 5,000 steps are enough.")
    learning_rate: float = Field(5e-3, gt=0, description="Adam's step size.")
    decay: float = Field(
        1, ge=0, le=1, description="Share of the epochs, at the end, over which the step size falls to 0."
    )
    schedule: Literal["linear", "cosine"] = Field("cosine", description="How it falls.")
    batch_size: int = Field(256, ge=3, description="Cells per step.")
    patience: int = Field(
        1_000_000, ge=1, description="Epochs without a better validation nELBO after which a member stops."
    )
    epsilon: float = Field(1e-8, gt=0, description="Adam's eps.")
    weight_decay: float = Field(1e-3, ge=0, description="L2 added to the gradient; worth it where cells are few.")
    clip: float | None = Field(10, gt=0, description="Largest norm of a member's gradient; null: any.")
    starts: int = Field(3, ge=1, description="Times a member is trained; the best validation likelihood is kept.")
    sizes: tuple[int, int, int] | None = Field(
        None, description="Latents of context, interaction and perturbation; null: thirds, the rest to the interaction."
    )
    couplings: int = Field(6, ge=1, description="Affine couplings of the map.")
    width: int = Field(48, ge=1, description="Units of each of the two hidden layers of a coupling.")


class FCRFlow(BatchedModel):
    """z = flow(leading principal components), with a prior for each block: by context, pair and perturbation."""

    along_members = BatchedModel.along_members - {"epochs"}
    knows_contexts = True

    @classmethod
    def network(cls, params: Any, design: Design) -> FlowNetwork:
        """Return the flow and its priors."""
        return FlowNetwork(params, design)

    @classmethod
    def block_names(cls, params: Any, n_latents: int) -> tuple[str, ...]:
        """Return the block of each latent."""
        return block_names(params.sizes, n_latents)

    def blocks(self) -> tuple[str, ...]:
        """Return the block of each latent."""
        return self.block_names(self.params, self.n_latents)

    def finish(self, train: ad.AnnData) -> None:
        """Give conditions without training cells the priors that follow from the others."""
        complete(self.state, self.design(train), train)

    def _known(self, cells: ad.AnnData) -> tuple[FlowNetwork, Stack]:
        network, stack = self.stack(cells)
        assert isinstance(network, FlowNetwork)
        return network, stack

    @torch.no_grad()
    def embed(self, cells: ad.AnnData) -> Latents:
        """Return the latents of any cells; labels are not read."""
        return self._latents(cells, _whitening.scores(cells, self.state)[0])

    def _latents(self, cells: ad.AnnData, scores: Scores) -> Latents:
        network, stack = self._known(cells)
        blocks = [_columns(scores[start:stop], stack) for start, stop in chunks(len(scores), CHUNK)]
        parts = [network.flow.forward(stack, block)[0][0].T.numpy() for block in blocks]
        return np.concatenate(parts).astype(np.float64)

    @torch.no_grad()
    def likelihood(self, cells: ad.AnnData, rng: np.random.Generator, samples: int = 0) -> Likelihood:
        """Return the negative log-density of log-normalised expression, nats per cell.

        It is exact: an importance-weighted bound of any number of samples would be the same, and is, where asked for.
        """
        network, stack = self._known(cells)
        scores, left = _whitening.scores(cells, self.state)
        data = cells_of([cells], [scores], network.design, stack.device, stack.dtype)
        parts = [
            network.log_density(stack, data.gather(torch.arange(start, stop)[None]))[0].double().numpy()
            for start, stop in chunks(cells.n_obs, CHUNK)
        ]
        density = np.concatenate(parts) + _whitening.log_volume(left, self.state, cells.n_vars)
        return Likelihood(-density, density if samples else None)

    @torch.no_grad()
    def predict(self, request: Request, rng: np.random.Generator) -> Predictions:
        """Return means by condition; doses are not told apart.

        reconstruction: of what the map keeps of the scored cells. counterfactual: latents of the context from its seen
        control cells, the others drawn from their priors. label_only: all drawn. A context without control cells has no
        counterfactual, a context never trained on neither of the two.
        """
        rows: list[dict[Any, Any]] = []
        means: list[np.ndarray] = []
        control = request.seen.obs["is_control"].to_numpy(dtype=bool)
        for condition in request.conditions.to_dict("records"):
            own = (request.scored.obs[list(condition)].astype(str) == pd.Series(condition).astype(str)).all(axis=1)
            same = control & (context_names(request.seen) == str(condition["context"]))
            found = {"reconstruction": self._scores(request.scored, own.to_numpy())}
            if str(condition["context"]) in self.design(request.seen).contexts:
                found |= {"counterfactual": self._drawn(request.seen, same, condition, rng)} if same.any() else {}
                found |= {"label_only": self._drawn(request.seen, None, condition, rng)}
            rows += [condition | {"kind": kind} for kind in found]
            means += [
                _whitening.expression_of(scores.mean(0, keepdims=True), self.state)[0] for scores in found.values()
            ]
        obs = pd.DataFrame(rows, columns=[*request.conditions, "kind"])
        return Predictions(obs, np.array(means).reshape(len(obs), request.seen.n_vars))

    def _scores(self, cells: ad.AnnData, rows: np.ndarray) -> Scores:
        return _whitening.scores(cells[rows], self.state)[0]

    def _drawn(
        self, seen: ad.AnnData, rows: np.ndarray | None, condition: Mapping[Any, Any], rng: np.random.Generator
    ) -> Scores:
        """Return whitened components of drawn latents; `rows` are cells whose latents of the context are kept."""
        network, stack = self._known(seen)
        count = DRAWS if rows is None else int(rows.sum())
        labels = seen.obs["perturbation"].cat.categories.get_loc(condition["perturbation"])
        context = network.design.contexts.index(str(condition["context"]))
        codes = [torch.full((1, 1), code) for code in (context, labels)]
        mean, log_sd = (value[0].numpy() for value in network.priors(stack, *codes))
        z = mean + np.exp(log_sd) * rng.standard_normal((len(mean), count))
        if rows is not None:
            kept = np.array(self.blocks()) == "x"
            z[kept] = self._latents(seen, self._scores(seen, rows)).T[kept]
        found: np.ndarray = network.flow.inverse(stack, _columns(z.T, stack))[0].T.numpy()
        return found.astype(np.float64)


def _columns(rows: Scores, stack: Stack) -> torch.Tensor:
    """Return cells as columns of a stack of one member, [1, features, cells]."""
    return torch.as_tensor(np.ascontiguousarray(rows.T)[None]).to(stack.dtype)
