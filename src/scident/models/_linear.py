"""Linear encoders of log-normalised expression: (x - centre) @ weights."""

import logging
import warnings
from typing import Any

import anndata as ad
from jaxtyping import Float
from numpy import ndarray

from scident.expression import log_normalised
from scident.models.base import Model
from scident.types import Latents

log = logging.getLogger(__name__)


class LinearEncoder(Model):
    """A model whose fit sets ``state["centre"]`` [genes] and ``state["weights"]`` [genes, latents]."""

    def embed(self, cells: ad.AnnData) -> Latents:
        """Return the linear map of each cell."""
        z: Latents = (log_normalised(cells) - self.state["centre"]) @ self.state["weights"]
        return z


def solve(solver: Any, x: Float[ndarray, "cells genes"]) -> Any:
    """Fit a scikit-learn decomposition and return it; non-convergence is logged, the last iterate is used."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always", ConvergenceWarning)
        solver.fit(x)
    if any(issubclass(w.category, ConvergenceWarning) for w in raised):
        log.warning("%s did not converge in %d iterations", type(solver).__name__, solver.max_iter)
    return solver
