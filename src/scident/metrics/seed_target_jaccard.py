"""Agreement of targets between seeds: does the same model name the same targets again?"""

import numpy as np
from jaxtyping import Bool, Float

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _cells
from scident.metrics._assign import match
from scident.metrics._seeds import over_pairs
from scident.metrics._targets import targets_of
from scident.metrics.base import Inputs, Member, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Seed target Jaccard",
    source="Jaccard 1912, New Phytologist; between seeds: this project",
    formula="mean over pairs of seeds and trained perturbations of |A and B| / |A or B|, latents matched; empty: 1",
    needs=("latents", "labels"),
    range=(0.0, 1.0),
    better="higher",
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    over="seeds",
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Match the latents of each pair of seeds on ``inputs.fit`` (absolute Pearson), compare their sets of targets."""
    if inputs.scope == "ood":
        raise NotApplicable("split_undefined")
    empties, sources = [], []

    def agreement(one: Member, other: Member) -> float:
        first, second = targets_of(inputs, one), targets_of(inputs, other)
        sources.append(first.source)
        value, empty = jaccard(
            _cells.latents(inputs, one)[0],
            _cells.latents(inputs, other)[0],
            first.on[inputs.trained],
            second.on[inputs.trained],
        )
        empties.append(empty)
        return value

    found, error, _ = over_pairs(inputs, agreement)
    note = f"score_source={sources[0]}, empty_share={np.mean(empties):.3f}"
    return [Value(found, error, int(inputs.trained.sum()), note=note)]


def jaccard(
    z: Float[np.ndarray, "cells latents"],
    z_other: Float[np.ndarray, "cells other"],
    on: Bool[np.ndarray, "perts latents"],
    on_other: Bool[np.ndarray, "perts other"],
) -> tuple[float, float]:
    """Return the mean Jaccard index of target sets after matching the latents, and the share of empty pairs.

    Two empty sets agree (1); a target on a latent without a partner agrees with nothing.
    """
    partner = match(z, z_other).partner
    shared = (on & np.where(partner >= 0, on_other[:, partner], False)).sum(axis=1)
    union = on.sum(axis=1) + on_other.sum(axis=1) - shared
    return float(np.where(union > 0, shared / np.maximum(union, 1), 1.0).mean()), float((union == 0).mean())
