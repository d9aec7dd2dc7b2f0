"""MCC with Pearson correlation: are the latents the true ones up to order, sign, scale and shift?"""

import numpy as np

from scident.info import MetricInfo
from scident.metrics import _cells
from scident.metrics._assign import Pairs, mcc
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="MCC (Pearson)",
    source="Hyvärinen & Morioka 2016, NeurIPS; Khemakhem et al. 2020, AISTATS",
    formula="mean over true latents of max(0, signed correlation with the matched latent); matched on other cells",
    needs=("latents", "truth"),
    range=(0.0, 1.0),
    better="higher",
    no_skill=0.0125,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    companions=True,
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Match on ``inputs.fit``, correlate on ``inputs.score`` (scope insample: absolute, on the same cells)."""
    pairs = Pairs(*_cells.truth(inputs), *_cells.latents(inputs, inputs.member))
    found = mcc(pairs, rng, insample=inputs.scope == "insample")
    return [Value(found.value, found.se, len(inputs.score), note=found.note)]
