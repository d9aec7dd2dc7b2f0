"""Non-negative matrix factorisation of log-normalised expression: parts that add up."""

import anndata as ad
import numpy as np
from pydantic import Field

from scident.expression import log_normalised
from scident.info import ModelInfo
from scident.models._linear import solve
from scident.models.base import Model
from scident.params import PluginParams
from scident.types import Latents

info = ModelInfo(
    label="NMF",
    source="Lee & Seung 1999, Nature; scikit-learn",
    role="baseline",
    gives=("latents",),
    light=True,
    assumes="expression is a sum of non-negative parts",
)


class Params(PluginParams):
    """Parameters of the factorisation."""

    max_iterations: int = Field(3000, ge=1, description="Most rounds of coordinate descent.")


class NMF(Model):
    """Parts of the training cells; a cell's latents are the non-negative weights that rebuild it best."""

    params: Params

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Fit on training cells from a random start."""
        from sklearn import decomposition

        x = log_normalised(train)
        solver = decomposition.NMF(
            min(self.n_latents, *x.shape),
            init="random",
            max_iter=self.params.max_iterations,
            random_state=int(rng.integers(2**31)),
        )
        self.state = {"parts": solve(solver, x).components_}

    def embed(self, cells: ad.AnnData) -> Latents:
        """Return the non-negative least-squares weights of each cell, exactly."""
        from scipy.optimize import nnls

        # |x - wᵀ parts| has its minimum where |qᵀx - r w| has, with fewer rows
        q, r = np.linalg.qr(self.state["parts"].T)
        return np.stack([nnls(r, y)[0] for y in log_normalised(cells) @ q])
