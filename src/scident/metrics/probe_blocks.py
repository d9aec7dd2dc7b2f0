"""Probes of blocks: how well does a linear classifier read context and perturbation from each block?

``x:perturbation`` reads the perturbation from the block x; ``x:perturbation|context`` does so inside each context and
averages. A factorised model says: z_x tells the context alone, z_t the perturbation alone, z_tx both in part. There is
no null to calibrate, so this is the first number to read about leakage of labels.
"""

import numpy as np
from jaxtyping import Float, Int

from scident.info import MetricInfo
from scident.metrics import _blocks, _cells, _probes
from scident.metrics.base import MIN_CELLS, Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Probes of blocks",
    source="Alain & Bengio 2017, ICLR workshop (arXiv 1610.01644)",
    formula="(balanced accuracy - 1/classes) / (1 - 1/classes) of multinomial logistic regression (C = 1)",
    needs=("latents", "blocks", "labels"),
    range=(-1.0, 1.0),
    better="neither",
    no_skill=0.0,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    scopes=("iid",),
    variants=("{x,tx,t}:{context,perturbation,context|perturbation,perturbation|context}",),
    shown=("x:perturbation|context", "t:context|perturbation"),
    companions=True,
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Fit probes on ``inputs.fit`` and score the cells of ``inputs.score`` whose label they have seen."""
    z, z_new = _cells.latents(inputs, inputs.member)
    columns = _blocks.columns(inputs.member.blocks)
    labels = {"context": _cells.contexts(inputs), "perturbation": _cells.perturbations(inputs)}
    everywhere = np.zeros(len(inputs.obs), dtype=np.int64)
    values = []
    for variant, stream in zip(info.variants, rng.spawn(len(info.variants)), strict=True):
        block, _, asked = variant.partition(":")
        name, _, given = asked.partition("|")
        label, stratum = labels[name], labels.get(given, everywhere)
        here = columns[block]
        fit = z[:, here], label[inputs.fit], stratum[inputs.fit]
        scored = z_new[:, here], label[inputs.score], stratum[inputs.score]
        found = _probe_strata(fit, scored, stream)
        if not found:
            values.append(Value(0.0, variant=variant, missing=f"one_{name}"))
            continue
        value, se, n = np.array(found).T
        error = float(np.sqrt((se**2).sum()) / len(se))
        values.append(Value(float(value.mean()), error, int(n.sum()), variant=variant))
    return values


Side = tuple[Float[np.ndarray, "cells columns"], Int[np.ndarray, " cells"], Int[np.ndarray, " cells"]]
"""Latents, labels and strata of some cells."""


def _probe_strata(fit: Side, scored: Side, rng: np.random.Generator) -> list[tuple[float, float, int]]:
    """Return value, standard error and cells of each stratum with two labels to tell apart and cells enough."""
    found = []
    for level in np.unique(fit[2]):
        z, label = (part[fit[2] == level] for part in fit[:2])
        z_new, label_new = (part[scored[2] == level] for part in scored[:2])
        if len(np.unique(label)) < 2:
            continue
        seen = np.isin(label_new, label)
        if min(len(label), int(seen.sum())) < MIN_CELLS:
            continue
        found.append((*_probes.probe(z, label, z_new[seen], label_new[seen], rng), int(seen.sum())))
    return found
