"""Blocks of latents: x belongs to the context, t to the perturbation (treatment), tx to both together."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from scident.errors import NotApplicable
from scident.metrics import _cells
from scident.metrics._assign import Pairs
from scident.metrics.base import Inputs

BLOCKS = ("x", "tx", "t")

Columns = Mapping[str, Int[np.ndarray, " columns"]]
"""Block -> its columns."""


def columns(blocks: tuple[str, ...] | None) -> Columns:
    """Return the columns of each block, refusing latents without any one of them."""
    found = {block: np.flatnonzero(np.asarray(blocks or (), dtype=object) == block) for block in BLOCKS}
    if any(not len(places) for places in found.values()):
        raise NotApplicable("no_blocks")
    return found


def interaction(inputs: Inputs) -> Pairs:
    """Return the true block tx and the member's own block tx, or its whole latent where it has no blocks."""
    factors_fit, factors_score = _cells.truth(inputs)
    true = columns(inputs.blocks_true)["tx"]
    z_fit, z_score = _cells.latents(inputs, inputs.member)
    blocks = inputs.member.blocks
    learned = np.arange(z_fit.shape[1]) if blocks is None else columns(blocks)["tx"]
    return Pairs(factors_fit[:, true], factors_score[:, true], z_fit[:, learned], z_score[:, learned])
