"""Precision of the targets: how many of the latents a model calls targets are targets?"""

import numpy as np

from scident.info import MetricInfo
from scident.metrics._targets import pooled
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Target precision",
    source="Lopez et al. 2023, CLeaR (arXiv 2211.03553)",
    formula="TP / (TP + FP) over pooled perturbation × factor entries; 0 if the model names no target",
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
        Value(float((p.on & p.true).sum() / max(p.on.sum(), 1)), n=p.rows, variant=p.variant, note=p.note)
        for p in pooled(inputs)
    ]
