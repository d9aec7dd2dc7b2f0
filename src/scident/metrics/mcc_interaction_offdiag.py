"""Largest correlation beside the matched one, in the interaction block: is something left mixed?

Descriptive, beside `mcc_interaction`: 0 where every true latent of z_tx is met by one learned latent alone; noise gives
nearly 0 too. The ideal is the correlation among the true latents themselves, which is 0 within conditions.
"""

import numpy as np
from pydantic import Field

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _blocks
from scident.metrics._assign import correlations, dead, match, within
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Off-assignment correlation of the interaction block",
    source="this project, beside Hyvärinen & Morioka 2016, NeurIPS",
    formula="mean over latents of the true z_tx of the largest |correlation| with a learned latent not matched to it",
    needs=("latents", "truth", "blocks", "labels"),
    range=(0.0, 1.0),
    better="neither",
    ceiling=0.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    variants=("within", "pooled"),
    shown=("within",),
    companions=True,
)


class Params(PluginParams):
    """What within means."""

    divide_by_sd: bool = Field(True, description="As in mcc_interaction.")


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Match on ``inputs.fit``, correlate on ``inputs.score``."""
    pooled = _blocks.interaction(inputs)
    values = []
    for variant in info.variants:
        try:
            pairs = within(inputs, pooled, scale=params.divide_by_sd) if variant == "within" else pooled
        except NotApplicable as refusal:
            values.append(Value(0.0, variant=variant, missing=refusal.reason))
            continue
        pairs, _ = pairs.varying()
        if not pairs.factors_fit.shape[1]:
            raise NotApplicable("no_truth")
        partner = match(pairs.factors_fit, pairs.z_fit).partner
        found = np.abs(correlations(pairs.factors_score, pairs.z_score))
        found[:, dead(pairs.z_fit) | dead(pairs.z_score)] = 0.0
        matched = partner >= 0
        found[np.flatnonzero(matched), partner[matched]] = 0.0
        largest = float(np.minimum(found.max(axis=1), 1.0).mean())
        values.append(Value(largest, n=len(pairs.z_score), variant=variant))
    return values
