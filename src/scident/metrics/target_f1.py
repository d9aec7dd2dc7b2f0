"""F1 of the targets: does a model name the true targets and no others?"""

import numpy as np

from scident.info import MetricInfo
from scident.metrics._targets import pooled
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Target F1",
    source="Lopez et al. 2023, CLeaR (arXiv 2211.03553)",
    formula="2 TP / (2 TP + FP + FN) over pooled perturbation × factor entries",
    needs=("latents", "truth", "labels"),
    range=(0.0, 1.0),
    better="higher",
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    variants=("corrected", "released"),
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Compare the model's own yes or no with the truth after matching the latents."""
    return [
        Value(float(2 * (p.on & p.true).sum() / (p.on.sum() + p.true.sum())), n=p.rows, variant=p.variant, note=p.note)
        for p in pooled(inputs)
    ]
