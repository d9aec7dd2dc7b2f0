"""The truth after a random rotation: linear R² stays 1, every latent is mixed. What a linear score cannot see."""

import anndata as ad
import numpy as np
from scipy.stats import ortho_group

from scident.info import ModelInfo
from scident.models._oracle import Oracle
from scident.params import PluginParams
from scident.types import Latents

info = ModelInfo(
    label="rotated truth",
    source="control of this project",
    role="positive_control",
    gives=("latents",),
    light=True,
    identifiability="affine",
    assumes="the true latents are given",
)


class Params(PluginParams):
    """No parameters."""


class RotatedTruth(Oracle):
    """z @ Q with Q drawn uniformly from the rotations and reflections (Haar), per seed."""

    def embed(self, cells: ad.AnnData) -> Latents:
        """Return the rotated truth."""
        z = self.z_true
        if z.shape[1] < 2:
            return z
        rng = np.random.default_rng(self.state["entropy"].tolist())
        rotated: Latents = z @ ortho_group.rvs(z.shape[1], random_state=rng)
        return rotated

    def targets(self) -> None:
        """Return nothing: after a rotation no latent is anybody's target."""

    def blocks(self) -> None:
        """Return nothing: a rotation over all latents leaves no blocks."""
