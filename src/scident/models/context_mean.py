"""The mean treated cell: every condition looks like the perturbed training cells of its context together."""

from collections.abc import Mapping

from scident.expression import Genes, Seen
from scident.info import ModelInfo
from scident.models._means import MeanModel
from scident.params import PluginParams

info = ModelInfo(
    label="context mean",
    source="baseline of this project",
    role="baseline",
    gives=("predictions",),
    stochastic=False,
    light=True,
    assumes="perturbations have a common response, of a size that their numbers of cells weigh",
)


class Params(PluginParams):
    """No parameters."""


class ContextMean(MeanModel):
    """The mean of the perturbed training cells of the context, of all contexts where it has none."""

    def mean(self, seen: Seen, condition: Mapping[str, str]) -> Genes | None:
        """Return the mean over cells."""
        return seen.cells_mean(condition["context"])

    def variance(self, seen: Seen, condition: Mapping[str, str]) -> Genes:
        """Return its sampling variance."""
        return seen.cells_mean_variance(condition["context"])
