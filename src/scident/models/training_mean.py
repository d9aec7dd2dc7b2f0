"""One answer for all: every condition looks like the average perturbation seen in training."""

from collections.abc import Mapping

from scident.expression import Genes, Seen
from scident.info import ModelInfo
from scident.models._means import MeanModel
from scident.params import PluginParams

info = ModelInfo(
    label="training mean",
    source="control of this project",
    role="negative_control",
    gives=("predictions",),
    stochastic=False,
    light=True,
    assumes="perturbations have a common response",
)


class Params(PluginParams):
    """No parameters."""


class TrainingMean(MeanModel):
    """The mean over the means of training perturbations, of the same context where it has any."""

    def mean(self, seen: Seen, condition: Mapping[str, str]) -> Genes | None:
        """Return the mean of the centroids."""
        return seen.centroid(condition["context"])

    def variance(self, seen: Seen, condition: Mapping[str, str]) -> Genes:
        """Return its sampling variance."""
        return seen.centroid_variance(condition["context"])
