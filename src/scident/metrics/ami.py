"""AMI of clusters with labels: do cells of one context or perturbation lie together?

NMI minus what chance gives: 0 under shuffled labels, whatever the number of clusters.

Variant ``x:context`` is the block x against the context (all: the whole latent; joint: perturbation and context), by
Leiden communities at resolution 1; other resolutions and k-means stand beside it and none is chosen by labels.
``as_expected`` is 1 where the block tells the label better than 19 shuffles of it and a factorised model says so, or
does not and should not. Encoders that read the labels agree with them without reading expression.
"""

import numpy as np

from scident.info import MetricInfo
from scident.metrics import _clustering
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="AMI of clusters",
    source="Vinh, Epps & Bailey 2010, JMLR; clusters: Traag et al. 2019, Scientific Reports",
    formula="(I - expected I) / (mean(H(labels), H(clusters)) - expected I); Leiden on 15 neighbours, resolution 1",
    needs=("latents", "labels"),
    range=(-1.0, 1.0),
    better="neither",
    no_skill=0.0,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),
    stochastic=True,
    scopes=("iid", "insample"),
    variants=(
        "{all,x,tx,t}:{context,perturbation,joint}",
        "{all,x,tx,t}:{context,perturbation,joint}:{kmeans,0.25,0.5,2}",
        "{x,tx,t}:{context,perturbation}:as_expected",
        "{tx,t}:joint:as_expected",
    ),
    shown=("all:context", "all:perturbation", "all:joint"),
    companions=True,
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Cluster cells of ``inputs.score``, latents standardised on ``inputs.fit``."""
    from sklearn.metrics import adjusted_mutual_info_score

    return _clustering.agreement(inputs, info.variants, adjusted_mutual_info_score, rng)
