"""MCC within conditions: what a latent knows about a cell beyond its label.

Given for both correlations, as variants `pearson` and `spearman`. An encoder that only looks up the label has no
residual variance, so all its latents are dead and it scores 0.
"""

import numpy as np

from scident.info import MetricInfo
from scident.metrics import _cells
from scident.metrics._assign import Pairs, mcc, within
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="MCC within conditions",
    source="Hyvärinen & Morioka 2016, NeurIPS; Khemakhem et al. 2020, AISTATS; on residuals: this project",
    formula="MCC of residuals after removing the mean of each (perturbation, context) with 10 or more cells",
    needs=("latents", "truth", "labels"),
    range=(0.0, 1.0),
    better="higher",
    no_skill=0.0125,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    variants=("pearson", "spearman"),
    companions=True,
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Match residuals of ``inputs.fit``, correlate residuals of ``inputs.score``; means are each set's own."""
    pairs = within(inputs, Pairs(*_cells.truth(inputs), *_cells.latents(inputs, inputs.member)))
    values = []
    for variant, stream in zip(info.variants, rng.spawn(2), strict=True):
        found = mcc(pairs, stream, ranks=variant == "spearman", insample=inputs.scope == "insample")
        values.append(Value(found.value, found.se, len(pairs.z_score), variant=variant, note=found.note))
    return values
