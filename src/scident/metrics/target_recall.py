"""Recall of the targets: how many of the true targets does a model name?"""

import numpy as np

from scident.info import MetricInfo
from scident.metrics._targets import pooled
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Target recall",
    source="Lopez et al. 2023, CLeaR (arXiv 2211.03553)",
    formula="TP / (TP + FN) over pooled perturbation × factor entries",
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
        Value(float((p.on & p.true).sum() / p.true.sum()), n=p.rows, variant=p.variant, note=p.note)
        for p in pooled(inputs)
    ]
