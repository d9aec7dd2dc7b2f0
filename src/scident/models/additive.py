"""Context plus perturbation, no interaction: the control mean of the context plus the effect seen in other contexts."""

from collections.abc import Mapping

import numpy as np

from scident.expression import Genes, Seen
from scident.info import ModelInfo
from scident.models._means import MeanModel
from scident.params import PluginParams

info = ModelInfo(
    label="additive",
    source="Ahlmann-Eltze, Huber & Anders (2025), Nature Methods 22; there for pairs of perturbations",
    role="baseline",
    gives=("predictions",),
    stochastic=False,
    light=True,
    assumes="a perturbation adds the same to log expression in every context",
)


class Params(PluginParams):
    """No parameters."""


class Additive(MeanModel):
    r"""Mean effect of a perturbation over contexts, each against its own controls.

    .. math:: \hat y_{p,x} = \bar c_x + \frac{1}{|X'|} \sum_{x' \in X'} (\bar y_{p,x'} - \bar c_{x'})

    with X' the other contexts with training cells of p and controls; where there are none, x itself. At a dose, the
    effects at that dose count alone where some context shows them. Without controls of x or cells of p: no prediction.
    """

    def mean(self, seen: Seen, condition: Mapping[str, str]) -> Genes | None:
        """Return the control mean plus the mean effect."""
        context, rows = condition["context"], seen.treated.obs
        known = (rows["perturbation"] == condition["perturbation"]) & rows["context"].isin(seen.controls)
        for wanted in (rows["context"] != context, rows["dose"] == condition["dose"] if "dose" in condition else known):
            known = known & wanted if (known & wanted).any() else known
        if context not in seen.controls or not known.any():
            return None
        own = np.flatnonzero(known)
        effects = [seen.treated.mean[row] - seen.controls[rows["context"].iloc[row]] for row in own]
        found: Genes = seen.controls[context] + np.mean(effects, axis=0)
        return found
