"""Whole context × perturbation pairs are held out; each context and each perturbation is still seen in other pairs."""

from collections import Counter

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field

from scident.errors import ConfigError, nearest
from scident.info import SplitInfo
from scident.params import PluginParams
from scident.splits.base import HeldOut

info = SplitInfo(
    label="Unseen pairs of context and perturbation",
    source="scident, after Mao et al. (2024), NeurIPS, arXiv:2410.22472",
)

Pair = tuple[str, str]
"""Context and perturbation."""


class Params(PluginParams):
    """Which pairs are held out."""

    held_out: list[tuple[str, str]] | None = Field(
        None, min_length=1, description="Pairs [context, perturbation] to hold out; null: a random `share`."
    )
    share: float = Field(0.2, gt=0, lt=1, description="Share of the treated pairs to hold out, drawn per replicate.")


def assign(adata: ad.AnnData, params: Params, rng: np.random.Generator) -> HeldOut:
    """Hold out the listed pairs or a random share of them; controls never.

    Raises
    ------
    ConfigError
        A pair does not exist, or a context or a perturbation would not be seen in any other pair.
    """
    context, label = (adata.obs[name].astype(str).to_numpy() for name in ("context", "perturbation"))
    treated = ~adata.obs["is_control"].to_numpy(dtype=bool)
    pairs = sorted(set(zip(context[treated], label[treated], strict=True)))
    if params.held_out is None:
        held_out = _drawn(pairs, max(round(params.share * len(pairs)), 1), rng)
    else:
        held_out = set(params.held_out)
        _must_exist(held_out, pairs)
        _must_be_seen_elsewhere(held_out, pairs)
    held = [(c, p) in held_out for c, p in zip(context, label, strict=True)]
    return pd.Series(np.array(held, dtype=bool) & treated, index=adata.obs_names)


def _drawn(pairs: list[Pair], wanted: int, rng: np.random.Generator) -> set[Pair]:
    """Take pairs in random order, each unless it is the last one of its context or of its perturbation."""
    left = Counter(("context", c) for c, _ in pairs) + Counter(("perturbation", p) for _, p in pairs)
    held_out: set[Pair] = set()
    for i in rng.permutation(len(pairs)):
        ends = ("context", pairs[i][0]), ("perturbation", pairs[i][1])
        if len(held_out) < wanted and min(left[end] for end in ends) > 1:
            held_out.add(pairs[i])
            left.subtract(ends)
    if len(held_out) < wanted:
        contexts = len({c for c, _ in pairs})
        raise ConfigError(
            f"unseen_pair: share asks for {wanted} of {len(pairs)} pairs ({contexts} contexts), but only "
            f"{len(held_out)} can go while each context and each perturbation is still seen elsewhere; hold out less"
        )
    return held_out


def _must_exist(held_out: set[Pair], pairs: list[Pair]) -> None:
    for pair in sorted(held_out - set(pairs)):
        known = sorted({c for c, _ in pairs}), sorted({p for _, p in pairs})
        for what, name, names in zip(("context", "perturbation"), pair, known, strict=True):
            if name not in names:
                raise ConfigError(
                    f"unseen_pair: held_out names the {what} {name!r}, which has no treated cells; found "
                    f"{len(names)}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}.{nearest(name, names)}"
                )
        raise ConfigError(f"unseen_pair: held_out names {list(pair)}, but no cell of this context has the perturbation")


def _must_be_seen_elsewhere(held_out: set[Pair], pairs: list[Pair]) -> None:
    left = set(pairs) - held_out
    for i, what in enumerate(("context", "perturbation")):
        lost = sorted({pair[i] for pair in held_out} - {pair[i] for pair in left})
        if lost:
            raise ConfigError(
                f"unseen_pair: held_out leaves the {what} {lost[0]!r} in no pair to train on; remove one of its pairs "
                "from the list"
            )
