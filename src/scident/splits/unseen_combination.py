"""Combinations of perturbations are held out, labels such as A+B; what they combine is seen in training.

With `fraction` as in published runs: the combinations are shuffled, the last `share` of them are tested on a fifth of
their cells, and the first `fraction` are trained on beside all single perturbations; nobody uses the others. At
`fraction` 1 test combinations are trained on too, on their other cells: an upper bound, no prediction.
"""

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from scident.errors import ConfigError, nearest
from scident.info import SplitInfo
from scident.params import PluginParams
from scident.splits import _draws
from scident.splits.base import HeldOut
from scident.types import parts_of

info = SplitInfo(
    label="Unseen combinations",
    source="scident; with `fraction` after Bereket & Karaletsos (2023), NeurIPS, arXiv:2311.02794",
    paired=True,
)

FEWEST_TRAINING = 2
"""With fewer training perturbations there is no contrast to learn from."""
TESTED = 0.2
"""Share of the cells of a test combination that are scored where `fraction` is given (svae.md §9)."""


class Params(PluginParams):
    """Which combinations are held out."""

    held_out: list[str] | None = Field(None, min_length=1, description="Combinations to hold out; null: a `share`.")
    share: float = Field(0.25, gt=0, lt=1, description="Share of all combinations to hold out, drawn per replicate.")
    fraction: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of all combinations to train on, as published; null: all that are not held out.",
    )

    @model_validator(mode="after")
    def _drawn_if_published(self) -> "Params":
        if self.held_out is not None and self.fraction is not None:
            raise ValueError("fraction goes with drawn combinations, held_out names them; keep one")
        if self.fraction is not None and 1 - self.share < self.fraction < 1:
            raise ValueError(f"fraction must be at most 1 - share ({1 - self.share:g}), or 1, where all are trained on")
        return self


def assign(adata: ad.AnnData, params: Params, rng: np.random.Generator) -> HeldOut:
    """Hold out the named combinations or a random share of them; single perturbations and controls never.

    Raises
    ------
    ConfigError
        The data have no combinations, not the named ones, too few whose parts are seen alone, or too little is left.
    """
    label = adata.obs["perturbation"].astype(str).to_numpy()
    names = set(label[~adata.obs["is_control"].to_numpy(dtype=bool)])
    combinations = sorted(name for name in names if len(parts_of(name)) > 1)
    if not combinations:
        raise ConfigError(
            f"unseen_combination: none of the {len(names)} perturbations is a combination; labels must join their "
            "parts by '+', as in A+B"
        )
    shuffled = [combinations[i] for i in rng.permutation(len(combinations))]
    if params.fraction is not None:
        return _published(adata, params.share, params.fraction, shuffled, rng)
    alone = names - set(combinations)
    if params.held_out is None:
        held_out = _drawn(params.share, shuffled, alone)
    else:
        held_out = params.held_out
        _must_be_made_of_seen(held_out, combinations, alone)
    _need_training(names - set(held_out), len(held_out), len(combinations))
    return pd.Series(np.isin(label, held_out), index=adata.obs_names)


def _published(
    adata: ad.AnnData, share: float, fraction: float, shuffled: list[str], rng: np.random.Generator
) -> HeldOut:
    count = len(shuffled)
    tested, trained = shuffled[round((1 - share) * count) :], shuffled[: round(fraction * count)]
    label = adata.obs["perturbation"].astype(str)
    single = set(label[~adata.obs["is_control"].to_numpy(dtype=bool)]) - set(shuffled)
    _need_training(single | set(trained), count - len(trained), count)
    found = pd.Series(False, index=adata.obs_names, dtype="boolean")
    found[label.isin(set(shuffled) - set(trained))] = None
    rank, size = _draws.ranked(adata, rng)
    found[label.isin(tested) & (rank < TESTED * size)] = True
    return found


def _drawn(share: float, shuffled: list[str], alone: set[str]) -> list[str]:
    wanted = max(round(share * len(shuffled)), 1)
    made_of_seen = [name for name in shuffled if set(parts_of(name)) <= alone]
    if len(made_of_seen) < wanted:
        raise ConfigError(
            f"unseen_combination: share asks for {wanted} of {len(shuffled)} combinations, but only "
            f"{len(made_of_seen)} are made of perturbations that are also seen alone; hold out less"
        )
    return made_of_seen[-wanted:]


def _must_be_made_of_seen(held_out: list[str], combinations: list[str], alone: set[str]) -> None:
    for name in held_out:
        if name not in combinations:
            raise ConfigError(
                f"unseen_combination: held_out names {name!r}, which is no combination of the data; found "
                f"{len(combinations)}: {', '.join(combinations[:5])}{', …' if len(combinations) > 5 else ''}."
                f"{nearest(name, combinations)}"
            )
        lost = sorted(set(parts_of(name)) - alone)
        if lost:
            raise ConfigError(
                f"unseen_combination: held_out names {name!r}, but no cell has {lost[0]!r} alone, so training would "
                "not see it; remove it from the list"
            )


def _need_training(left: set[str], held: int, count: int) -> None:
    if len(left) < FEWEST_TRAINING:
        raise ConfigError(
            f"unseen_combination: without {held} of {count} combinations training has {len(left)} perturbations, and "
            f"needs {FEWEST_TRAINING}; hold out less or train on a larger fraction"
        )
