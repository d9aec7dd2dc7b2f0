"""Linear encoders of log-normalised expression: (x - centre) @ weights."""

import anndata as ad

from scident.models.base import Model, log_normalised
from scident.types import Latents


class LinearEncoder(Model):
    """A model whose fit sets ``state["centre"]`` [genes] and ``state["weights"]`` [genes, latents]."""

    def embed(self, cells: ad.AnnData) -> Latents:
        """Return the linear map of each cell."""
        z: Latents = (log_normalised(cells) - self.state["centre"]) @ self.state["weights"]
        return z
