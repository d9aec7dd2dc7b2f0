"""Negative evidence lower bound: how well does the model predict counts it has not seen?"""

import numpy as np

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _cells
from scident.metrics.base import SCOPES, Inputs, Value
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
)

MORE_THAN = 10
"""Perturbations enter the aggregate with more cells than this."""


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Average the model's own per-cell values; latents are not read.

    All cells of the scope's parts count, not only the drawn ones of ``inputs.score``: a mean needs no cap, and the
    draw would empty small perturbations. One row per perturbation, then the aggregate (median in its note).
    """
    if inputs.member.nelbo is None:
        raise NotApplicable("no_likelihood")
    if inputs.scope == "ood" and inputs.member.label_conditioned:
        raise NotApplicable("split_undefined")
    chosen = inputs.obs["part"].isin(SCOPES[inputs.scope][1]).to_numpy()
    _cells.enough(int(chosen.sum()))
    cost = inputs.member.nelbo[chosen].astype(np.float64)
    _cells.finite(cost, "nelbo")
    label = inputs.obs["perturbation"].cat.codes.to_numpy()[chosen]
    values = []
    for code, name in enumerate(inputs.perturbations):
        cells = cost[label == code]
        if len(cells) > MORE_THAN:
            error = float(cells.std(ddof=1) / np.sqrt(len(cells)))
            values.append(Value(float(cells.mean()), error, len(cells), perturbation=name))
    if not values:
        raise NotApplicable("too_few_cells")
    means = np.array([v.value for v in values])
    errors = np.array([v.se for v in values], dtype=np.float64)
    se = float(np.sqrt((errors**2).sum()) / len(values))
    return [*values, Value(float(means.mean()), se, len(values), note=f"median={np.median(means):.4g}")]
