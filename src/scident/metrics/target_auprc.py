"""Average precision of the targets: are true targets scored above the others?"""

import numpy as np

from scident.info import MetricInfo
from scident.metrics._targets import pooled
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Target AUPRC",
    source="Lopez et al. 2023, CLeaR (arXiv 2211.03553)",
    formula="average precision of the target scores over pooled perturbation × factor entries; no skill: base rate",
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
    """Rank all entries by the model's score, or by the one derived from its latents."""
    from sklearn.metrics import average_precision_score

    return [
        Value(float(average_precision_score(p.true, p.score)), n=p.rows, variant=p.variant, note=p.note)
        for p in pooled(inputs)
    ]
