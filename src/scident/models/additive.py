"""Context plus perturbations, no interaction: the control mean plus effects seen in other contexts or alone."""

from collections.abc import Mapping

import numpy as np

from scident.expression import Genes, Seen
from scident.info import ModelInfo
from scident.models._means import MeanModel
from scident.params import PluginParams
from scident.types import parts_of

info = ModelInfo(
    label="additive",
    source="Ahlmann-Eltze, Huber & Anders (2025), Nature Methods 22",
    role="baseline",
    gives=("predictions",),
    stochastic=False,
    light=True,
    assumes="a perturbation adds the same to log expression in every context and beside every other perturbation",
)


class Params(PluginParams):
    """No parameters."""


class Additive(MeanModel):
    r"""Mean effect of a perturbation over contexts, each against its own controls.

    .. math:: \hat y_{p,x} = \bar c_x + \frac{1}{|X'|} \sum_{x' \in X'} (\bar y_{p,x'} - \bar c_{x'})

    with X' the other contexts with training cells of p and controls; where there are none, x itself. A combination that
    no other context shows has the sum of such effects of its parts, if all of them are seen. At a dose, the effects at
    that dose count alone where some context shows them. Without controls of x or cells of p: no prediction.
    """

    def mean(self, seen: Seen, condition: Mapping[str, str]) -> Genes | None:
        """Return the control mean plus the effects."""
        if condition["context"] not in seen.controls:
            return None
        effect = self._effect(seen, condition)
        return None if effect is None else np.asarray(seen.controls[condition["context"]] + effect)

    def _effect(self, seen: Seen, condition: Mapping[str, str]) -> Genes | None:
        rows = seen.treated.obs
        known = (rows["perturbation"] == condition["perturbation"]) & rows["context"].isin(seen.controls)
        elsewhere = known & (rows["context"] != condition["context"])
        parts = parts_of(condition["perturbation"])
        if not elsewhere.any() and len(parts) > 1:
            effects = [self._effect(seen, {**condition, "perturbation": part}) for part in parts]
            alone = [effect for effect in effects if effect is not None]
            if len(alone) == len(parts):
                return np.asarray(np.sum(alone, axis=0))
        known = elsewhere if elsewhere.any() else known
        if "dose" in condition and (known & (rows["dose"] == condition["dose"])).any():
            known &= rows["dose"] == condition["dose"]
        if not known.any():
            return None
        own = np.flatnonzero(known)
        each = [seen.treated.mean[row] - seen.controls[rows["context"].iloc[row]] for row in own]
        return np.asarray(np.mean(each, axis=0))
