"""Probe: how well does a linear classifier read the perturbation from the latents?

Descriptive: a faithful latent space tells strong perturbations apart, a label look-up tells all of them apart.
"""

import numpy as np

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _cells, _probes
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Probe: perturbation",
    source="Alain & Bengio 2017, ICLR workshop (arXiv 1610.01644)",
    formula="(balanced accuracy - 1/classes) / (1 - 1/classes) of multinomial logistic regression (C = 1)",
    needs=("latents", "labels"),
    range=(-1.0, 1.0),
    better="neither",
    no_skill=0.0,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    scopes=("iid",),
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Fit the probe on ``inputs.fit`` and score the cells of ``inputs.score`` whose label it has seen."""
    z_fit, z_score = _cells.latents(inputs, inputs.member)
    label = inputs.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)
    fit_label, score_label = label[inputs.fit], label[inputs.score]
    if len(np.unique(fit_label)) < 2:
        raise NotApplicable("one_perturbation")
    seen = np.isin(score_label, fit_label)
    _cells.enough(int(seen.sum()))
    value, error = _probes.probe(z_fit, fit_label, z_score[seen], score_label[seen], rng)
    return [Value(value, error, int(seen.sum()))]
