"""Share of each latent's variance that the perturbation label explains: replace this line by what the metric asks.

Descriptive: a look-up of the label reaches 1 and latents that ignore the perturbation stay near 0.
"""

import numpy as np

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _cells
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(  # literals only: the registry reads them without importing this file
    label="template",  # its name in tables and figures
    source="Fisher 1925, Statistical Methods for Research Workers",  # author, year, venue, identifier
    formula="mean over latents of SS(between perturbations)/SS(total) on scored cells; constant latents count 0",
    needs=("latents", "labels"),  # where one is missing, raise NotApplicable
    range=(0.0, 1.0),
    better="neither",  # higher, lower or neither
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine"),  # tested: the value must not move under any of these
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Score one member on one scope: learn on the cells ``inputs.fit``, report on ``inputs.score``."""
    _, z = _cells.latents(inputs, inputs.member)
    labels, group = np.unique(inputs.obs["perturbation"].cat.codes.to_numpy()[inputs.score], return_inverse=True)
    if len(labels) < 2:
        raise NotApplicable("one_perturbation")
    centred = z - z.mean(axis=0)
    between = (_cells.group_means(centred, group, len(labels))[group] ** 2).sum(axis=0)
    total = (centred**2).sum(axis=0)
    share = np.divide(between, total, out=np.zeros_like(total), where=z.std(axis=0) > 1e-12 * np.abs(z).max(axis=0))
    return [Value(float(np.clip(share.mean(), 0.0, 1.0)), n=len(z))]
