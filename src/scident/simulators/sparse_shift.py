"""Sparse shift: each perturbation moves one to three of the latents, a fixed random network makes counts of them."""

from collections.abc import Mapping
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from scipy import sparse

from scident.info import SimulatorInfo
from scident.params import PluginParams
from scident.simulators import _decoder

info = SimulatorInfo(
    label="Sparse shift",
    source="Lopez, Tagasovska, Ra, Cho, Pritchard & Regev (2023), CLeaR, arXiv:2211.03553; code Genentech/sVAE",
)

CHUNK = 2048
"""Cells decoded at once, so that the intermediate arrays stay small."""
MOST_TARGETS = 3


class Params(PluginParams):
    """Parameters of the sparse-shift world; the defaults are those of the released script."""

    variant: Literal["released", "corrected"] = Field(
        "released",
        description="released: softmax over cells, targets drawn with replacement; corrected: softmax over genes, "
        "targets drawn without replacement.",
    )
    n_perturbations: int = Field(100, ge=2, description="Perturbations, held-out ones included.")
    cells_per_perturbation: int = Field(250, ge=1, description="Cells of each perturbation; there are no controls.")
    n_latents: int = Field(15, ge=MOST_TARGETS, description="True latents (factors).")
    n_genes: int = Field(100, ge=2, description="Genes.")
    n_hidden: int = Field(40, ge=MOST_TARGETS, description="Width of the three hidden layers; latents ≤ width ≤ genes.")
    shift_mean: float = Field(5.0, description="Mean absolute shift of a target latent, in sd of the latent.")
    shift_sd: float = Field(0.5, ge=0, description="Standard deviation of that shift.")
    softmax_axis: Literal["cells", "genes"] | None = Field(
        None, description="Over what the softmax normalises; null: as the variant says."
    )
    replace: bool | None = Field(
        None, description="Whether a perturbation's targets are drawn with replacement; null: as the variant says."
    )
    depth: float | None = Field(
        None, gt=0, description="Expected counts in all: per cell (softmax over genes; null: 4,000) or per gene (1e6)."
    )

    @model_validator(mode="after")
    def _widths_do_not_fall(self) -> "Params":
        if not self.n_latents <= self.n_hidden <= self.n_genes:
            raise ValueError(
                f"n_latents ≤ n_hidden ≤ n_genes must hold for orthogonal weights, found {self.n_latents}, "
                f"{self.n_hidden}, {self.n_genes}; change one of them"
            )
        return self

    @property
    def axis(self) -> str:
        """The softmax axis in use."""
        return self.softmax_axis or ("cells" if self.variant == "released" else "genes")

    @property
    def with_replacement(self) -> bool:
        """The target rule in use."""
        return self.variant == "released" if self.replace is None else self.replace

    @property
    def total(self) -> float:
        """The depth in use, counts."""
        return self.depth or (1e6 if self.axis == "cells" else 4000.0)


def simulate(params: Params, rng: np.random.Generator) -> ad.AnnData:
    """Draw a world, its factors and its counts.

    Parameters
    ----------
    params
        The world's size and variant.
    rng
        Source of all randomness.

    Returns
    -------
    Counts (cells × genes, float32; dense where most are not 0), cells in random order, with the truth in obsm
    ``z_true`` and uns ``shift`` and ``world``.

    References
    ----------
    Lopez et al. (2023), CLeaR, arXiv:2211.03553.
    """
    shift = _draw_shift(params, rng)
    label = rng.permutation(np.repeat(np.arange(params.n_perturbations), params.cells_per_perturbation))
    z = shift[label] + rng.standard_normal((len(label), params.n_latents))
    world = _draw_world(params, z, rng)
    counts = np.empty((len(label), params.n_genes), dtype=np.float32)
    for rows in _chunks(len(z)):
        counts[rows] = rng.poisson(_mean(world, _decoder.logits(z[rows], _weights(world))))
    return _as_anndata(counts, label, params, z, shift, world)


def expected(
    world: Mapping[str, Any], z: Float[np.ndarray, "cells factors"]
) -> tuple[Float[np.ndarray, "cells genes"], Float[np.ndarray, "cells genes factors"]]:
    """Return the Poisson mean of every count given the factors, and its exact Jacobian.

    Parameters
    ----------
    world
        ``uns["world"]`` of the truth file.
    z
        Factors, in the simulator's units.

    Returns
    -------
    Means in counts, and their derivatives in counts per unit of factor. The per-gene normaliser of the softmax over
    cells is a constant of the world.
    """
    genes = len(_weights(world)[-1].T)
    mean = np.empty((len(z), genes))
    slopes = np.empty((len(z), z.shape[1], genes))
    for rows in _chunks(len(z)):
        out, tangent = _decoder.logits_and_jacobian(z[rows], _weights(world))
        mean[rows] = _mean(world, out)
        if world["softmax_axis"] == "genes":
            tangent -= np.matmul(tangent, mean[rows][:, :, None] / world["depth"]).reshape(*tangent.shape[:2], 1)
        np.multiply(tangent, mean[rows][:, None, :] / world["scale"], out=slopes[rows])
    return mean, slopes.transpose(0, 2, 1)


def _draw_shift(params: Params, rng: np.random.Generator) -> Float[np.ndarray, "perts factors"]:
    targets: Bool[np.ndarray, "perts factors"] = np.zeros((params.n_perturbations, params.n_latents), dtype=bool)
    for row in targets:
        number = rng.integers(1, MOST_TARGETS + 1)
        row[rng.choice(params.n_latents, number, replace=params.with_replacement)] = True
    sign = rng.choice([-1.0, 1.0], targets.shape)
    return np.where(targets, sign * rng.normal(params.shift_mean, params.shift_sd, targets.shape), 0.0)


def _draw_world(params: Params, z: Float[np.ndarray, "cells factors"], rng: np.random.Generator) -> dict[str, Any]:
    sizes = [params.n_latents, params.n_hidden, params.n_hidden, params.n_hidden, params.n_genes]
    weights = _decoder.draw_weights(sizes, rng)
    out = _decoder.logits(z, weights)
    world: dict[str, Any] = {
        "simulator": "sparse_shift",
        "params": {k: v for k, v in params.model_dump().items() if v is not None},
        "softmax_axis": params.axis,
        "depth": params.total,
        # the published generator scales by the spread over all cells, held-out perturbations included
        "scale": float(out.std()),
        **{f"W{i}": weight for i, weight in enumerate(weights, start=1)},
    }
    if params.axis == "cells":
        world["log_normaliser"] = np.log(np.exp(out / world["scale"]).sum(axis=0))
    return world


def _weights(world: Mapping[str, Any]) -> list[Float[np.ndarray, "_ _"]]:
    return [np.asarray(world[f"W{i}"]) for i in range(1, 5)]


def _mean(world: Mapping[str, Any], out: Float[np.ndarray, "cells genes"]) -> Float[np.ndarray, "cells genes"]:
    scaled = out / world["scale"]
    if world["softmax_axis"] == "cells":
        mean: Float[np.ndarray, "cells genes"] = np.exp(scaled - world["log_normaliser"])
    else:
        mean = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        mean /= mean.sum(axis=1, keepdims=True)
    mean *= world["depth"]
    return mean


def _chunks(cells: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, cells, CHUNK)]


def _as_anndata(
    counts: Float[np.ndarray, "cells genes"],
    label: np.ndarray,
    params: Params,
    z: Float[np.ndarray, "cells factors"],
    shift: Float[np.ndarray, "perts factors"],
    world: dict[str, Any],
) -> ad.AnnData:
    width = len(str(params.n_perturbations - 1))
    names = [f"p{k:0{width}d}" for k in range(params.n_perturbations)]
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(label.tolist(), categories=pd.Index(names)),
            "is_control": False,
            "context": pd.Categorical(["all"] * len(label)),
        },
        index=[f"cell{i}" for i in range(len(label))],
    )
    var = pd.DataFrame(index=[f"gene{j}" for j in range(params.n_genes)])
    x = counts if np.count_nonzero(counts) > counts.size / 2 else sparse.csr_matrix(counts)
    return ad.AnnData(x, obs=obs, var=var, obsm={"z_true": z}, uns={"shift": shift, "world": world})
