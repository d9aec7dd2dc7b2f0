"""Nothing happens: every condition looks like the control cells of its context."""

from collections.abc import Mapping

import numpy as np

from scident.errors import NotApplicable
from scident.expression import Genes, Seen
from scident.info import ModelInfo
from scident.models._means import MeanModel
from scident.params import PluginParams

info = ModelInfo(
    label="no change",
    source="control of this project",
    role="negative_control",
    gives=("predictions",),
    stochastic=False,
    light=True,
    assumes="there are control cells",
)


class Params(PluginParams):
    """No parameters."""


class NoChange(MeanModel):
    """The mean of the seen control cells of the context, or over all contexts where it has none."""

    def mean(self, seen: Seen, condition: Mapping[str, str]) -> Genes | None:
        """Return the control mean."""
        if not seen.controls:
            raise NotApplicable("no_control")
        own = seen.controls.get(condition["context"])
        return np.mean(list(seen.controls.values()), axis=0) if own is None else own

    def variance(self, seen: Seen, condition: Mapping[str, str]) -> Genes:
        """Return the sampling variance of the control mean."""
        noise = seen.control.variance
        own = (seen.control.obs["context"] == condition["context"]).to_numpy()
        found: Genes = noise[own].sum(0) if own.any() else noise.sum(0) / len(noise) ** 2
        return found
