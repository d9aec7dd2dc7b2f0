"""Log-linear counts of shifted Gaussian factors: replace this line by one that says what the world is."""

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from scident.info import SimulatorInfo
from scident.params import PluginParams

info = SimulatorInfo(  # literals only: the registry reads them without importing this file
    label="template",  # its name in tables and figures
    source="this checkout",  # author, year, venue, identifier
)


class Params(PluginParams):
    """What a config entry may set beside `use`; `n_latents` is handed down from the configuration."""

    n_latents: int = Field(4, ge=1, description="True latents (factors).")
    n_perturbations: int = Field(12, ge=2, description="Perturbations beside the control.")
    cells_per_perturbation: int = Field(100, ge=1, description="Cells of each perturbation and of the control.")
    n_genes: int = Field(40, ge=2, description="Genes.")
    shift: float = Field(3.0, description="How far each perturbation moves its one factor, in sd of the factor.")


def simulate(params: Params, rng: np.random.Generator) -> ad.AnnData:
    """Draw factors, then counts; the truth rides along and the data stage moves it to its own file."""
    names = ["control", *(f"p{k:03d}" for k in range(params.n_perturbations))]
    shift = np.zeros((len(names), params.n_latents))
    moved = np.arange(params.n_perturbations)
    shift[moved + 1, moved % params.n_latents] = params.shift
    label = rng.permutation(np.repeat(np.arange(len(names)), params.cells_per_perturbation))
    z = shift[label] + rng.standard_normal((len(label), params.n_latents))
    world = {
        "simulator": "template",  # this file's name: the noisy oracle finds `expected` by it
        "weights": rng.normal(0.0, 0.3 / np.sqrt(params.n_latents), (params.n_latents, params.n_genes)),
        "bias": rng.normal(1.0, 0.5, params.n_genes),
    }
    counts = rng.poisson(expected(world, z)[0])
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(label.tolist(), categories=pd.Index(names)),
            "is_control": label == 0,
            "context": pd.Categorical(["all"] * len(label)),
        },
        index=[f"cell{i}" for i in range(len(label))],
    )
    var = pd.DataFrame(index=[f"gene{j}" for j in range(params.n_genes)])
    truth = {"shift": shift, "world": world}
    return ad.AnnData(counts.astype(np.float32), obs=obs, var=var, obsm={"z_true": z}, uns=truth)


def expected(
    world: Mapping[str, Any], z: Float[np.ndarray, "cells factors"]
) -> tuple[Float[np.ndarray, "cells genes"], Float[np.ndarray, "cells genes factors"]]:
    """Return the Poisson means exp(bias + z @ weights) and their Jacobian."""
    weights = np.asarray(world["weights"])
    mean = np.exp(world["bias"] + z @ weights)
    return mean, mean[:, :, None] * weights.T
