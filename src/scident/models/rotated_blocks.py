"""The truth after a random rotation inside each block: what blocks alone are worth, latents of a block being mixed."""

import anndata as ad
import numpy as np
from scipy.stats import ortho_group

from scident.errors import NotApplicable
from scident.info import ModelInfo
from scident.models._oracle import Oracle
from scident.params import PluginParams
from scident.types import Latents

info = ModelInfo(
    label="rotated blocks",
    source="control of this project",
    role="positive_control",
    gives=("latents",),
    light=True,
    identifiability="block",
    assumes="the true latents are given",
    needs_blocks=True,
)


class Params(PluginParams):
    """No parameters."""


class RotatedBlocks(Oracle):
    """z_b @ Q_b for each block b, with Q_b drawn uniformly from the rotations and reflections (Haar), per seed."""

    def embed(self, cells: ad.AnnData) -> Latents:
        """Return the truth, rotated block by block.

        Raises
        ------
        NotApplicable
            ``no_blocks``: the true latents have no blocks.
        """
        z, blocks = self.z_true.copy(), self.blocks()
        if blocks is None:
            raise NotApplicable("no_blocks")
        rng = np.random.default_rng(self.state["entropy"].tolist())
        for block in dict.fromkeys(blocks):
            columns = [j for j, name in enumerate(blocks) if name == block]
            if len(columns) > 1:
                z[:, columns] = z[:, columns] @ ortho_group.rvs(len(columns), random_state=rng)
        return z

    def targets(self) -> None:
        """Return nothing: after a rotation no latent is anybody's target."""
