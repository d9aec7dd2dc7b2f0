"""Factor analysis of log-normalised expression: a linear Gaussian model with a noise variance per gene."""

import anndata as ad
import numpy as np
from pydantic import Field

from scident.expression import log_normalised
from scident.info import ModelInfo
from scident.models._linear import LinearEncoder, solve
from scident.params import PluginParams

info = ModelInfo(
    label="factor analysis",
    source="Spearman 1904, American Journal of Psychology; scikit-learn",
    role="baseline",
    gives=("latents",),
    stochastic=False,
    light=True,
    assumes="expression is a linear map of Gaussian factors plus noise of each gene; any rotation of them is as likely",
)


class Params(PluginParams):
    """Parameters of factor analysis."""

    max_iterations: int = Field(1000, ge=1, description="Most steps of expectation maximisation.")


class FactorAnalysis(LinearEncoder):
    """Posterior means of the factors under the maximum-likelihood loadings of the training cells."""

    params: Params

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Fit on training cells; the solver draws from a start of its own, the same each time."""
        from sklearn import decomposition

        x = log_normalised(train)
        n = min(self.n_latents, *x.shape)
        # noise starts at each gene's own variance: from the solver's 1 for all, a loud gene becomes a factor
        noise = np.maximum(x.var(0), np.finfo(float).eps)
        solver = decomposition.FactorAnalysis(n, max_iter=self.params.max_iterations, noise_variance_init=noise)
        found = solve(solver, x)
        scaled = found.components_ / found.noise_variance_
        weights = np.linalg.solve(np.eye(n) + scaled @ found.components_.T, scaled).T
        self.state = {"centre": found.mean_, "weights": weights}
