"""Importance-weighted bound on the log-likelihood: tighter than the ELBO, so fairer to models with poor posteriors.

Absolute values differ between data sets and replicates far more than between models: compare paired differences
(table ``differences``). Variants as for the negative ELBO.
"""

import numpy as np
from pydantic import Field

from scident.info import MetricInfo
from scident.metrics import _bounds
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="IWELBO",
    source="Burda, Grosse & Salakhutdinov 2016, ICLR; aggregation: Bereket & Karaletsos 2023, NeurIPS",
    formula="mean over cells of log (1/S) sum_s p(x, z_s) / q(z_s | x) (nats), then unweighted mean over perturbations",
    needs=("likelihood", "labels"),
    range=(-1e999, 1e999),
    better="higher",
    invariant_to=("permutation", "sign", "scale", "affine", "monotone", "linear"),
    scopes=("iid", "ood"),
    variants=("", "zero_shot", "finetuned_half", "finetuned_insample"),
)


class Params(PluginParams):
    """How tight the bound is."""

    samples: int = Field(100, ge=1, description="Samples S per cell, drawn by the infer stage; 1,000 for a full run.")


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Average the model's own per-cell values, computed from ``params.samples`` samples; latents are not read."""
    return _bounds.values_of(inputs, "iwelbo")
