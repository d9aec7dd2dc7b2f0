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
        """Draw one world: expression in X, obs as `scident.contracts.check_data` asks, and the truth.

        The truth rides along and is moved to its own file by the data stage:

        - obsm ``z_true`` (cells × factors), and ``size_true`` (cells × 1) where the means of counts are multiplied by a
          size of each cell;
        - uns ``shift`` (perts × factors, rows in the order of the categories of ``obs.perturbation``), or ``blocks``:
          the block of each factor, x (context), tx (interaction) or t (perturbation);
        - uns ``world``: ``simulator`` (this file's name), and every array and scalar that defines p(x given z). Poisson
          noise is taken for granted; another ``noise`` is ``normal`` with ``noise_sd`` or ``negative_binomial`` with
          ``theta``. Without a shift, ``prior_mean`` and ``prior_sd`` (perts × contexts × factors, both in the order of
          the categories) say where the factors of each condition lie.

        Expression that is not counts says so in uns ``observation``.
        """
        ...

    def expected(
        self, world: Mapping[str, Any], z: Float[np.ndarray, "cells factors"]
    ) -> tuple[Float[np.ndarray, "cells genes"], Float[np.ndarray, "cells genes factors"]]:
        """Return the means of expression given the factors, of cells of size 1, and their exact Jacobian."""
        ...
