"""Average silhouette width by labels: are cells nearer to those of their own label than to the nearest other one?

Rescaled to (s + 1) / 2, so 0.5 is no structure. Variants as in `nmi`, without clusters: ``x:context`` is the block
x against the context, its latents brought to sd 1; ``unscaled`` leaves them as they are. ``as_expected`` has no entry
where a block should tell a label in part: its cells then lie in several places and the width falls below that of
shuffled ones.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from scident.info import MetricInfo
from scident.metrics import _clustering
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="ASW of labels",
    source="Rousseeuw 1987, Journal of Computational and Applied Mathematics; Luecken et al. 2022, Nature Methods",
    formula="(1 + mean over cells of (b - a)/max(a, b)) / 2; a, b: mean distance to own, to nearest other label",
    needs=("latents", "labels"),
    range=(0.0, 1.0),
    better="neither",
    no_skill=0.5,
    ceiling=1.0,
    invariant_to=("permutation", "sign"),
    scopes=("iid", "insample"),
    variants=(
        "{all,x,tx,t}:{context,perturbation,joint}",
        "{all,x,tx,t}:{context,perturbation,joint}:unscaled",
        "{x,t}:{context,perturbation}:as_expected",
        "tx:joint:as_expected",
    ),
    shown=("all:context", "all:perturbation", "all:joint"),
    companions=True,
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Compare distances between cells of ``inputs.score``, latents standardised on ``inputs.fit``."""
    sides = {scale: _clustering.latents(inputs, scale=scale) for scale in (True, False)}
    values = []
    distances: dict[tuple[str, bool], Distances] = {}
    for variant in info.variants:
        block, name, *rest = variant.split(":")
        scale = "unscaled" not in rest
        z, label = sides[scale][0][block], sides[scale][1][name]
        if isinstance(z, str) or not label.max():
            values.append(Value(0.0, variant=variant, missing=z if isinstance(z, str) else _clustering.LONE[name]))
            continue
        if (block, scale) not in distances:
            distances[block, scale] = cdist(z, z).astype(np.float32)
        found = silhouette(distances[block, scale], label)
        if "as_expected" in rest:
            order = (_clustering.shuffled(sides[scale][1], name, rng) for _ in range(_clustering.SHUFFLES))
            null = [silhouette(distances[block, scale], other) for other in order]
            values.append(_clustering.verdict(variant, found, null, len(z)))
        else:
            values.append(Value(found, n=len(z), variant=variant))
    return values


Distances = Float[np.ndarray, "cells cells"]


def silhouette(distance: Distances, label: Int[np.ndarray, " cells"]) -> float:
    """Return the average silhouette width, rescaled to [0, 1]; a cell alone with its label counts as 0.5."""
    member = np.eye(label.max() + 1, dtype=distance.dtype)[label]
    count = member.sum(axis=0)
    total = distance @ member
    own = np.arange(len(label)), label
    inside = total[own] / np.maximum(count[label] - 1, 1)
    total /= count
    total[own] = np.inf
    outside = total.min(axis=1)
    larger = np.maximum(inside, outside)
    width = np.divide(outside - inside, larger, out=np.zeros_like(larger), where=(larger > 0) & (count[label] > 1))
    return float((width.mean(dtype=np.float64) + 1) / 2)
