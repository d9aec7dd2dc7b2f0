"""What a simulator file must define.

A simulator draws factors first and observations from them second, so that the truth is known and an oracle can be
given the very process that made the counts. Its file holds ``info = SimulatorInfo(...)``, ``class Params`` and the two
functions of `Simulator`; the data stage calls `simulate`, the oracle models reach `expected` through the registry.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import anndata as ad
import numpy as np
from jaxtyping import Float

from scident.params import PluginParams


@runtime_checkable
class Simulator(Protocol):
    """A module of ``scident.simulators``."""

    Params: type[PluginParams]

    def simulate(self, params: Any, rng: np.random.Generator) -> ad.AnnData:
        """Draw one world: counts in X, obs as `scident.contracts.check_data` asks, and the truth.

        The truth rides along and is moved to its own file by the data stage: obsm ``z_true`` (cells × factors), uns
        ``shift`` (perts × factors, rows in the order of the categories of ``obs.perturbation``), uns ``world``
        (``simulator``: this file's name, and every array and scalar that defines p(x given z)).
        """
        ...

    def expected(
        self, world: Mapping[str, Any], z: Float[np.ndarray, "cells factors"]
    ) -> tuple[Float[np.ndarray, "cells genes"], Float[np.ndarray, "cells genes factors"]]:
        """Return the Poisson means of the counts given the factors, and their exact Jacobian."""
        ...
