"""The ceiling: the best guess of the latents by one who knows the true decoder and noise but sees only the counts."""

import anndata as ad
import numpy as np

from scident import registry
from scident.errors import NotApplicable
from scident.info import ModelInfo
from scident.models._map import map_latents
from scident.models._oracle import Oracle
from scident.models.base import dense
from scident.params import PluginParams
from scident.types import Latents

info = ModelInfo(
    label="noisy oracle",
    source="control of this project",
    role="positive_control",
    gives=("latents", "targets"),
    stochastic=False,
    light=True,
    identifiability="component",
    assumes="the true latents and the true decoder are given",
)


class Params(PluginParams):
    """No parameters."""


class OracleNoisy(Oracle):
    """Maximum a posteriori latents under the true decoder and Poisson noise.

    The prior is the equal mixture over training perturbations of N(true shift, I): never the cell's own label.
    """

    def embed(self, cells: ad.AnnData) -> Latents:
        """Return the MAP of each cell, by damped Gauss-Newton steps from the truth.

        Raises
        ------
        NotApplicable
            ``no_world``: the truth came with a file, so p(x|z) is unknown.
        """
        truth = self.known
        if "world" not in truth.uns:
            raise NotApplicable("no_world")
        world = truth.uns["world"]
        simulator = registry.load("simulators", str(world["simulator"]))
        centres = np.asarray(truth.uns["shift"], dtype=np.float64)[self.state["trained"]]
        start = np.asarray(truth.obsm["z_true"], dtype=np.float64)
        z: Latents = map_latents(dense(cells), world, simulator.expected, centres, start)
        return z
