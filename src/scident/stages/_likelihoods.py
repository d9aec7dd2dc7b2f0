"""How well a trained model explains the cells of one replicate, held-out perturbations before and after fitting."""

from collections.abc import Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from scident import io
from scident.info import ModelInfo
from scident.models.base import Model


class World:
    """Cells of one replicate with the genes training saw, their parts and, for a positive control, their truth."""

    def __init__(
        self, replicate: int, data: Sequence[Path], truth: Sequence[Path], cut: pd.DataFrame, genes: Sequence[str]
    ) -> None:
        self.cells = io.with_genes(io.read_data(data[replicate]), genes)
        self.truth: ad.AnnData | None = io.read_truth(truth[replicate]) if truth else None
        own = cut[cut["replicate"] == replicate].set_index("cell_id")["part"]
        self.part = own.reindex(self.cells.obs_names).to_numpy()

    def rows(self, *parts: str) -> np.ndarray:
        """Return which cells are in one of some parts."""
        return np.isin(self.part, parts)

    @property
    def scored(self) -> np.ndarray:
        """Cells some scope scores: all but training cells, and these too where published code scores them."""
        released = not np.isin(self.part, ["fit", "score"]).any()
        scored: np.ndarray = ((self.part != "train") | released) & (self.part != "unused")
        return scored


def likelihoods(
    model: Model, info: ModelInfo, world: World, retrained: str, stream: np.random.Generator, samples: int
) -> pd.DataFrame:
    """Return contract ``likelihood``: both bounds of the cells that are scored, under each protocol that applies.

    Protocol "" is the trained model: all scored cells, or, where the bound depends on the perturbation label, those
    whose label was trained on. After a second training held-out cells are scored by that model, and by models that
    adapt also after fitting (metrics.md §2e); without one, by models of labels that know these too (`Model.knows`).

    Parameters
    ----------
    model, info
        A trained model.
    world
        Its replicate.
    retrained
        Whether it was trained a second time: no, ok or failed:reason.
    stream
        Of the draws behind the bounds.
    samples
        Samples of the importance-weighted bound, computed for the cells of parts score and heldout_score.
    """
    unknown = ("heldout_fit", "heldout_score") if info.label_conditioned else ()
    usual = world.scored & ~world.rows(*unknown)
    tight = usual & world.rows("score", "heldout_score")
    parts = ((usual & ~tight, 0), (usual & tight, samples))
    frames = [_bounds(model, world, rows, "", stream, count) for rows, count in parts if rows.any()]
    last = world.rows("heldout_score")
    if retrained == "ok" and last.any():
        ready = model.prepared()
        frames.append(_bounds(ready, world, last, "zero_shot", stream, samples))
        if info.adapts:
            halves = world.rows("heldout_fit")
            protocol, fit = ("finetuned_half", halves) if halves.any() else ("finetuned_insample", last)
            adapted = ready.adapt(io.subset(world.cells, fit), stream, not halves.any())
            frames.append(_bounds(adapted, world, last, protocol, stream, samples))
    elif info.label_conditioned and last.any() and model.knows(io.subset(world.cells, last)):
        frames.append(_bounds(model, world, last, "zero_shot", stream, samples))
    return pd.concat(frames, ignore_index=True)


def _bounds(
    model: Model, world: World, rows: np.ndarray, protocol: str, stream: np.random.Generator, samples: int
) -> pd.DataFrame:
    found = model.likelihood(io.subset(world.cells, rows), stream, samples)
    tight = np.nan if found.iwelbo is None else found.iwelbo
    names = world.cells.obs_names[rows]
    return pd.DataFrame({"cell_id": names, "protocol": protocol, "nelbo": found.nelbo, "iwelbo": tight})
