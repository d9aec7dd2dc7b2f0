"""Mean expression of conditions from a trained FCR, in three ways (fcr.md §10.3, P1-P3).

Every latent is drawn once per cell; the mean is that of the decoder's means.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anndata as ad
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scident import io
from scident.engine.batches import Cells, chunks
from scident.engine.stack import Stack
from scident.engine.streams import Streams
from scident.models._fcr_network import FCRNetwork
from scident.types import Predictions, Request, condition_columns

LABEL_ONLY_DRAWS = 1000
"""Draws behind a label-only prediction."""

CHUNK = 1024

Opened = Callable[[ad.AnnData, bool], tuple[FCRNetwork, Stack, Cells]]
"""Cells, and whether their contexts are known and read, to a network, its one member and the cells in memory."""

Genes = Float[np.ndarray, " genes"]


def predict(opened: Opened, request: Request, streams: Streams) -> Predictions:
    """Return P1, P2 and P3 of every condition that allows them.

    P1 decodes the scored cells' own posteriors. P2 decodes z_x of seen control cells of the context with z_tx and z_t
    from their priors; P3 takes z_x from its prior too. Both need a context and a perturbation that have seen cells, and
    P2 control cells of the context.
    """
    source = _Source(opened, request.seen, streams)
    columns = condition_columns(request.conditions)
    labels = {name: request.scored.obs[name].astype(str).to_numpy() for name in columns}
    parts, kinds, means = [], [], []
    for position in range(len(request.conditions)):
        condition = {name: str(request.conditions[name].iloc[position]) for name in columns}
        own = np.logical_and.reduce([labels[name] == condition[name] for name in columns])
        made = source.predictions(io.subset(request.scored, own), condition)
        parts += [position] * len(made)
        kinds += list(made)
        means += list(made.values())
    obs = request.conditions.iloc[parts].assign(kind=kinds).reset_index(drop=True)
    return Predictions(obs, np.array(means).reshape(len(means), request.scored.n_vars))


@dataclass(frozen=True)
class _Source:
    """What predictions of one model are made from."""

    opened: Opened
    seen: ad.AnnData
    streams: Streams

    def predictions(self, scored: ad.AnnData, condition: Mapping[str, str]) -> dict[str, Genes]:
        """Return what can be said of a condition, by kind."""
        network, stack = self.opened(self.seen, False)[:2]
        contexts, names = network.design.contexts, self.seen.obs["perturbation"].cat.categories.astype(str)
        context, perturbation = condition["context"], condition["perturbation"]
        found = {}
        if context in contexts or not network.reads_labels:
            found["reconstruction"] = self._reconstructed(scored)
        if context not in contexts or not self._rows("perturbation", perturbation).any():
            return found
        codes = torch.tensor([[contexts.index(context)]]), torch.tensor([[int(names.get_loc(perturbation))]])
        prior, d_x = network.prior(stack, *codes), network.design.sizes[0]
        controls = self._rows("context", context) & self.seen.obs["is_control"].to_numpy(dtype=bool)
        if controls.any():
            own = network.map(stack, self._drawn(io.subset(self.seen, controls), network.reads_labels))
            drawn = prior.sample(self.streams.normal(*own.shape[1:]))
            both = torch.cat([own[:, :d_x], drawn[:, d_x:]], 1)
            found["counterfactual"] = _expected(network, stack, network.map.inverse(stack, both))
        drawn = prior.sample(self.streams.normal(network.design.n_latents, LABEL_ONLY_DRAWS))
        return found | {"label_only": _expected(network, stack, network.map.inverse(stack, drawn))}

    def _rows(self, column: str, name: str) -> Bool[np.ndarray, " cells"]:
        found: np.ndarray = (self.seen.obs[column].astype(str) == name).to_numpy()
        return found

    def _drawn(self, cells: ad.AnnData, labelled: bool) -> Tensor:
        """Return one draw of each cell's posterior of what the decoder reads, [1, latents, cells]."""
        network, stack, data = self.opened(cells, labelled)
        parts = []
        for start, stop in chunks(cells.n_obs, CHUNK):
            q = network.encode(stack, network.own(stack, data.gather(torch.arange(start, stop)[None])))
            parts.append(q.sample(self.streams.normal(*q.mean.shape[1:])))
        return torch.cat(parts, 2)

    def _reconstructed(self, cells: ad.AnnData) -> Genes:
        network, stack, _ = self.opened(cells, False)
        return _expected(network, stack, self._drawn(cells, network.reads_labels))


def _expected(network: FCRNetwork, stack: Stack, u: Tensor) -> Genes:
    blocks = (u[..., start:stop] for start, stop in chunks(u.shape[2], CHUNK))
    parts = [network.observation.expected(stack, network.decode(stack, block)) for block in blocks]
    mean: Genes = torch.cat(parts, 2)[0].double().mean(1).numpy()
    return mean
