r"""Conditional priors of three blocks of latents (fcr.md §4.1, §4.2): all diagonal Gaussian.

.. math:: p(z \mid x, t) = p(z_x \mid x)\, p(z_{tx} \mid x, t)\, p(z_t \mid t)

Means and log standard deviations are rows of free tables, or what small networks make of embeddings of x and t.
"""

from functools import partial
from typing import Literal

import anndata as ad
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from jaxtyping import Bool, Float
from torch import Tensor

from scident.engine import layers
from scident.engine.stack import Initial, Stack, constant, normal
from scident.models._design import BLOCKS, Design, context_codes
from scident.models._moments import Moments

Kind = Literal["tables", "product", "concat"]
"""Free tables; or networks, that of z_tx on the product of both embeddings or on one beside the other."""

EMBEDDING = 16
"""Length of the embeddings of x and t."""

WIDTH = 128
"""Units of the two hidden layers of a prior's network."""

LARGEST_LOG_SD = 10.0


class Priors:
    """The three priors of a network; their parameters' names begin with "prior."."""

    def __init__(self, kind: Kind, design: Design, rectified: bool = False) -> None:
        self.kind, self.design = kind, design
        self.rectified = rectified
        """Whether a ReLU follows: outputs then start at random, for those that start at 0 would stay there."""
        rows = design.n_contexts, design.n_contexts * design.n_perturbations, design.n_perturbations
        self.rows = dict(zip(BLOCKS, rows, strict=True))
        """Conditions that each block's prior tells apart; pairs are numbered context × perturbations + perturbation."""
        self.sizes = dict(zip(BLOCKS, design.sizes, strict=True))

    def parameters(self) -> dict[str, Initial]:
        """Declare the tables, or the embeddings and networks; unless rectified, every prior starts standard normal."""
        if self.kind == "tables":
            start = normal if self.rectified else partial(constant, 0)
            return {f"prior.{block}": start(self.rows[block], 2 * self.sizes[block]) for block in BLOCKS}
        found = {
            "prior.context": normal(self.design.n_contexts, EMBEDDING),
            "prior.perturbation": normal(self.design.n_perturbations, EMBEDDING),
        } | layers.linear_parameters("prior.embed", EMBEDDING, EMBEDDING)
        for block in BLOCKS:
            inputs = 2 * EMBEDDING if (block, self.kind) == ("tx", "concat") else EMBEDDING
            name, outputs = f"prior.{block}", 2 * self.sizes[block]
            found |= layers.linear_parameters(f"{name}.0", inputs, WIDTH)
            found |= layers.linear_parameters(f"{name}.1", WIDTH, WIDTH)
            found |= {f"{name}.bent": constant(0, outputs, WIDTH), f"{name}.skip.weight": constant(0, outputs, inputs)}
            found |= {f"{name}.skip.bias": constant(0, outputs, 1)}
            found |= layers.linear_parameters(f"{name}.skip", inputs, outputs) if self.rectified else {}
        return found

    def __call__(self, stack: Stack, contexts: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of each cell's prior, [members, latents, cells] each.

        Parameters
        ----------
        stack
            With this object's parameters.
        contexts, labels
            Codes of contexts and perturbations, [members, cells].

        Returns
        -------
        Blocks in the order x, tx, t.
        """
        tables = self.tables(stack)
        codes = {"x": contexts, "tx": contexts * self.design.n_perturbations + labels, "t": labels}
        parts = [layers.rows_of(tables[block], codes[block]).transpose(1, 2).chunk(2, 1) for block in BLOCKS]
        mean, log_sd = (torch.cat([part[i] for part in parts], 1) for i in (0, 1))
        return mean, log_sd.clamp(-LARGEST_LOG_SD, LARGEST_LOG_SD)

    def tables(self, stack: Stack) -> dict[str, Tensor]:
        """Return mean and log standard deviation under each condition by block, [members, conditions, 2 × size]."""
        if self.kind == "tables":
            return {block: stack.p[f"prior.{block}"] for block in BLOCKS}
        context, perturbation = self._embeddings(stack)
        members, width, contexts = context.shape
        perturbations = perturbation.shape[2]
        pairs = members, width, contexts, perturbations
        both = context[..., None].expand(pairs), perturbation[:, :, None].expand(pairs)
        joined = both[0] * both[1] if self.kind == "product" else torch.cat(both, 1)
        inputs = {"x": context, "tx": joined.flatten(2), "t": perturbation}
        return {block: self._network(stack, f"prior.{block}", inputs[block]).transpose(1, 2) for block in BLOCKS}

    def _embeddings(self, stack: Stack) -> tuple[Tensor, Tensor]:
        """Return embeddings of contexts and perturbations, [members, EMBEDDING, conditions]; a control's input is 0."""
        first = stack.p["prior.perturbation"].transpose(1, 2)
        if self.design.control is not None:
            present = torch.ones(first.shape[2], device=first.device, dtype=first.dtype)
            present[self.design.control] = 0
            first = first * present
        return stack.p["prior.context"].transpose(1, 2), layers.linear(stack, "prior.embed", F.relu(first))

    def _network(self, stack: Stack, name: str, h: Tensor) -> Tensor:
        bent = F.silu(layers.linear(stack, f"{name}.1", F.silu(layers.linear(stack, f"{name}.0", h))))
        return torch.bmm(stack.p[f"{name}.bent"], bent) + layers.linear(stack, f"{name}.skip", h)

    @torch.no_grad()
    def reset(self, stack: Stack, moments: Moments) -> None:
        """Set tables to the moments of latents under each condition; networks start anew at those of all cells."""
        for block, found in moments.tables(self.design.blocks or ()).items():
            if self.kind == "tables":
                stack.p[f"prior.{block}"].copy_(found.flatten(2))
                continue
            for part in ("bent", "skip.weight"):
                stack.p[f"prior.{block}.{part}"].zero_()
            overall = moments.overall(self.design.blocks or ())[block]
            stack.p[f"prior.{block}.skip.bias"].copy_(overall.flatten(1)[..., None])


def complete(state: dict[str, np.ndarray], design: Design, train: ad.AnnData) -> None:
    """Fill rows of free tables that had no training cells, in place: pairs by `extrapolated`, perturbations by means.

    Parameters
    ----------
    state
        Arrays of a trained model with `Priors` of kind tables.
    design, train
        Of its training.
    """
    trained = np.zeros((design.n_contexts, design.n_perturbations), dtype=bool)
    labels = train.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)
    trained[context_codes(train, design.contexts), labels] = True
    state["prior.tx"] = extrapolated(state["prior.tx"], trained)
    known = np.atleast_1d(trained.any(0))[:, None]
    state["prior.t"] = np.where(known, state["prior.t"], state["prior.t"].mean(0, where=known, keepdims=True))


def extrapolated(
    table: Float[np.ndarray, "pairs width"], trained: Bool[np.ndarray, "contexts perts"]
) -> Float[np.ndarray, "pairs width"]:
    """Return a table of pairs in which those never trained on follow from the others, additively.

    Their rows are context effect + perturbation effect, by least squares over the trained pairs (row mean + column mean
    - grand mean where these are balanced). A context or perturbation of which no pair was trained has the mean effect.

    Parameters
    ----------
    table
        Mean and log standard deviation of each pair, pairs in the order of `trained`, flattened.
    trained
        Which pairs had training cells.
    """
    rows, columns = np.nonzero(trained)
    known = table[trained.ravel()]
    grand = known.mean(0)
    contexts, perturbations = np.eye(trained.shape[0]), np.eye(trained.shape[1])
    design = np.hstack([contexts[rows], perturbations[columns]])
    effects = np.linalg.lstsq(design, known - grand, rcond=None)[0]
    of_context, of_perturbation = np.split(effects, [trained.shape[0]])
    filled = grand + of_context[:, None] + of_perturbation[None]
    found: np.ndarray = np.where(trained.reshape(-1, 1), table, filled.reshape(table.shape))
    return found.astype(table.dtype)
