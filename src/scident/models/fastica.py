"""Independent component analysis of log-normalised expression: the serious linear competitor."""

import anndata as ad
import numpy as np
from pydantic import Field

from scident.expression import log_normalised
from scident.info import ModelInfo
from scident.models._linear import LinearEncoder, solve
from scident.params import PluginParams

info = ModelInfo(
    label="FastICA",
    source="Hyvärinen 1999, IEEE Transactions on Neural Networks; scikit-learn",
    role="baseline",
    gives=("latents",),
    light=True,
    identifiability="component",
    assumes="expression is a linear mixture of independent non-Gaussian factors",
)


class Params(PluginParams):
    """Parameters of FastICA."""

    max_iterations: int = Field(1000, ge=1, description="Most fixed-point iterations.")
    tolerance: float = Field(1e-3, gt=0, description="Largest change of the unmixing at which iteration stops.")


class FastICA(LinearEncoder):
    """Unmixing of the training cells, unit variance."""

    params: Params

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Fit on training cells from a random start; non-convergence is logged, the last iterate is used."""
        from sklearn.decomposition import FastICA as Solver

        x = log_normalised(train)
        solver = Solver(
            n_components=min(self.n_latents, *x.shape),
            whiten="unit-variance",
            whiten_solver="eigh",
            max_iter=self.params.max_iterations,
            tol=self.params.tolerance,
            random_state=int(rng.integers(2**31)),
        )
        solve(solver, x)
        self.state = {"centre": solver.mean_, "weights": solver.components_.T}
