"""Agreement of latents between seeds: does the same model find the same latents again?

Necessary, not sufficient: deterministic methods and constant label look-ups agree with themselves. Variants: plain
(Pearson), `spearman`, and `within` (Pearson on residuals within conditions).
"""

from functools import partial

import numpy as np

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _cells
from scident.metrics._assign import Pairs, mcc, within
from scident.metrics._seeds import over_pairs
from scident.metrics.base import Inputs, Member, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Seed MCC",
    source="Hyvärinen & Morioka 2016, NeurIPS; between seeds: Khemakhem et al. 2020, NeurIPS (ICE-BeeM)",
    formula="mean over pairs of seeds of the MCC between their latents, averaged over both directions",
    needs=("latents", "labels"),
    range=(0.0, 1.0),
    better="higher",
    no_skill=0.0125,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    over="seeds",
    variants=("", "spearman", "within"),
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Match the latents of each pair of seeds on ``inputs.fit``, correlate on ``inputs.score``."""
    values = []
    for variant in info.variants:
        try:
            found, error, pairs = over_pairs(inputs, partial(_both_ways, inputs, variant, rng))
        except NotApplicable as refusal:
            if variant != "within" or refusal.reason == "single_seed":
                raise
            values.append(Value(0.0, variant=variant, missing=refusal.reason))
        else:
            values.append(Value(found, error, pairs, variant=variant))
    return values


def _both_ways(inputs: Inputs, variant: str, rng: np.random.Generator, one: Member, other: Member) -> float:
    first, second = _cells.latents(inputs, one), _cells.latents(inputs, other)
    total = 0.0
    for left, right in ((first, second), (second, first)):
        pairs = Pairs(*left, *right)
        pairs = within(inputs, pairs) if variant == "within" else pairs
        total += mcc(pairs, rng, ranks=variant == "spearman", insample=inputs.scope == "insample", draws=0).value
    return total / 2
