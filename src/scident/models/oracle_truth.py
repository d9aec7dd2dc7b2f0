"""The true latents themselves: every identifiability score must be perfect."""

import anndata as ad

from scident.info import ModelInfo
from scident.models._oracle import Oracle
from scident.params import PluginParams
from scident.types import Latents

info = ModelInfo(
    label="truth",
    source="control of this project",
    role="positive_control",
    gives=("latents", "targets"),
    stochastic=False,
    light=True,
    identifiability="component",
    assumes="the true latents are given",
)


class Params(PluginParams):
    """No parameters."""


class OracleTruth(Oracle):
    """The identity on the truth."""

    def embed(self, cells: ad.AnnData) -> Latents:
        """Return the true latents."""
        return self.z_true
