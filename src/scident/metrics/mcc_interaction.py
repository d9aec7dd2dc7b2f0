"""MCC of the interaction block: is every latent of z_tx recovered by itself?

FCR claims that each latent of z_tx is identified, so only this block is judged latent by latent. A model with blocks is
matched inside its own block tx; one without gets the best assignment from its whole latent. Read variant `within`
first: `pooled` is inflated because labels alone predict the means of conditions. A random rotation inside the true
block already reaches about 0.64 for four latents.
"""

import numpy as np
from pydantic import Field

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _blocks
from scident.metrics._assign import mcc, within
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="MCC of the interaction block",
    source="Hyvärinen & Morioka 2016, NeurIPS; Mao et al. 2024, NeurIPS (the claim)",
    formula="MCC of the true z_tx, after removing mean and sd of each (perturbation, context) with 10 or more cells",
    needs=("latents", "truth", "blocks", "labels"),
    range=(0.0, 1.0),
    better="higher",
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    variants=("within", "within:spearman", "pooled", "pooled:spearman"),
    shown=("within", "pooled"),
    companions=True,
)


class Params(PluginParams):
    """What within means."""

    divide_by_sd: bool = Field(
        True, description="Divide residuals by the sd of their condition, as z_tx varies more in some than in others."
    )


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Match on ``inputs.fit``, correlate on ``inputs.score``; means and sds of conditions are each set's own."""
    pooled = _blocks.interaction(inputs)
    values = []
    for variant, stream in zip(info.variants, rng.spawn(len(info.variants)), strict=True):
        try:
            inside = variant.startswith("within")
            pairs = within(inputs, pooled, scale=params.divide_by_sd) if inside else pooled
        except NotApplicable as refusal:
            values.append(Value(0.0, variant=variant, missing=refusal.reason))
            continue
        found = mcc(pairs, stream, ranks="spearman" in variant, insample=inputs.scope == "insample")
        values.append(Value(found.value, found.se, len(pairs.z_score), variant=variant, note=found.note))
    return values
