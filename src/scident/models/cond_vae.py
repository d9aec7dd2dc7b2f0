"""Conditional VAE: encoder and decoder are told what was done to a cell, the prior is told nothing.

A combination is told as its parts, so one never seen can be predicted if each of its parts was trained on. Where there
are several contexts, the context is told too. Doses are not told apart.
"""

from typing import Any

import anndata as ad
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from scident import io
from scident.engine.batches import Batch, Cells
from scident.engine.layers import rows_of
from scident.engine.stack import Initial, Stack
from scident.info import ModelInfo
from scident.models._batched import cells_of
from scident.models._cond_vae_predict import predict
from scident.models._count_vae import CountVAE, CountVAENetwork, CountVAEParams
from scident.models._design import Design, context_names
from scident.types import Latents, Predictions, Request

info = ModelInfo(
    label="conditional VAE",
    source="Sohn, Lee & Yan 2015, NeurIPS; dosages as in Bereket & Karaletsos 2023, NeurIPS",
    role="baseline",
    gives=("latents", "likelihood", "predictions"),
    label_conditioned=True,
    assumes="what perturbations do adds up somewhere inside the decoder",
    likelihood="negative binomial",
)

TRAINED = "trained_parts"
"""Name under which the state keeps which single perturbations some training cell had, bool [parts]."""


class Params(CountVAEParams):
    """Parameters of the conditional VAE."""


class CondVAENetwork(CountVAENetwork):
    """The count VAE with dosages, 1 for each single perturbation of a cell, and contexts beside x and beside z."""

    def __init__(self, params: Params, design: Design) -> None:
        self.design = design
        super().__init__(params, design.n_genes, design.n_latents, design.n_perturbations, design.observation)

    @property
    def n_conditions(self) -> int:
        """Number of single perturbations, and of contexts if there are several."""
        return self.design.n_parts + (self.design.n_contexts if self.design.n_contexts > 1 else 0)

    def buffers(self) -> dict[str, Initial]:
        """Declare the running statistics and the dosages, [perturbations, single perturbations]."""
        dosage = torch.zeros(self.n_perturbations, self.design.n_parts, dtype=torch.float64)
        for code, parts in enumerate(self.design.parts):
            for part in parts:
                dosage[code, part] += 1
        return super().buffers() | {"dosage": Initial(tuple(dosage.shape), lambda *_: dosage.clone())}

    def beside(self, stack: Stack, batch: Batch, h: Tensor) -> Tensor:
        """Return `h` and the conditions of the cells, one below the other."""
        told = [h, rows_of(stack.b["dosage"], batch.labels).transpose(1, 2)]
        if self.design.n_contexts > 1:
            told.append(F.one_hot(batch.contexts, self.design.n_contexts).to(h.dtype).transpose(1, 2))
        return torch.cat(told, 1)


class CondVAE(CountVAE):
    """Latents are what of a cell its condition does not say."""

    knows_contexts = True

    @classmethod
    def network(cls, params: Any, design: Design) -> CondVAENetwork:
        """Return the conditional VAE."""
        return CondVAENetwork(params, design)

    def finish(self, train: ad.AnnData) -> None:
        """Remember which single perturbations were trained on."""
        design, codes = self.design(train), np.unique(train.obs["perturbation"].cat.codes)
        trained = np.zeros(design.n_parts, dtype=bool)
        trained[[part for code in codes for part in design.parts[code]]] = True
        self.state[TRAINED] = trained

    def _network(self, cells: ad.AnnData) -> tuple[CondVAENetwork, Stack, Cells]:
        network, stack = self.stack(cells)
        assert isinstance(network, CondVAENetwork)
        return network, stack, cells_of([cells], [cells.X], network.design, stack.device, stack.dtype)

    def companions(self, cells: ad.AnnData, rng: np.random.Generator) -> dict[str, Latents]:
        """Return the prior's means, all 0, and posterior means under shuffled expression."""
        shuffled = io.subset(cells, np.arange(cells.n_obs))
        shuffled.X = cells.X[rng.permutation(cells.n_obs)]
        return {"prior_only": np.zeros((cells.n_obs, self.n_latents)), "shuffled_expression": self.embed(shuffled)}

    def knows(self, cells: ad.AnnData) -> bool:
        """Whether every part of every label was trained on, and every context."""
        design, codes = self.design(cells), np.unique(cells.obs["perturbation"].cat.codes)
        known = all(self.state[TRAINED][part] for code in codes for part in design.parts[code])
        return known and set(context_names(cells)) <= set(design.contexts)

    def predict(self, request: Request, rng: np.random.Generator) -> Predictions:
        """Return counterfactual and label-only predictions of conditions whose parts and context were trained on."""
        return predict(self._network, self.state[TRAINED], request, rng)
