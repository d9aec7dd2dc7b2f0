"""The ceiling: the best guess of the latents by one who knows decoder and noise but sees only the expression."""

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np

from scident import registry
from scident.errors import NotApplicable
from scident.expression import dense
from scident.info import ModelInfo
from scident.models._map import Process, map_latents
from scident.models._mixture import Mixture
from scident.models._oracle import Oracle
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
    """Maximum a posteriori latents under the true decoder and noise.

    The prior is the equal mixture of the true Gaussians of the training conditions: never the cell's own label. A world
    without ``prior_mean`` has one unit Gaussian per training perturbation, around its shift.
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
        process = Process(world, simulator.expected, self._prior(world))
        size = np.asarray(truth.obsm["size_true"]) if "size_true" in truth.obsm else None
        z: Latents = map_latents(dense(cells), process, self.z_true, size)
        return z

    def _prior(self, world: Mapping[str, Any]) -> Mixture:
        if "prior_mean" not in world:
            return Mixture.of_unit_sd(np.asarray(self.known.uns["shift"], dtype=np.float64)[self.state["trained"]])
        perturbation, context = self.state["pairs"].T
        mean, sd = (np.asarray(world[name], dtype=np.float64) for name in ("prior_mean", "prior_sd"))
        return Mixture(mean[perturbation, context], sd[perturbation, context])
