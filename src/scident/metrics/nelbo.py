"""Negative evidence lower bound: how well does the model predict counts it has not seen?

On held-out perturbations its variants say what was fitted to them (metrics.md §2e): ``zero_shot`` nothing,
``finetuned_half`` half of their cells, the rest scored; ``finetuned_insample`` the scored cells, as published.
"""

import numpy as np

from scident.info import MetricInfo
from scident.metrics import _bounds
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Negative ELBO",
    source="Kingma & Welling 2014, ICLR; aggregation: Bereket & Karaletsos 2023, NeurIPS",
    formula="mean over cells of reconstruction + KL (nats per cell), then unweighted mean over perturbations",
    needs=("likelihood", "labels"),
    range=(-1e999, 1e999),
    better="lower",
    invariant_to=("permutation", "sign", "scale", "affine", "monotone", "linear"),
    scopes=("iid", "ood", "insample", "val"),
    variants=("", "zero_shot", "finetuned_half", "finetuned_insample"),
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Average the model's own per-cell values; latents are not read."""
    return _bounds.values_of(inputs, "nelbo")
