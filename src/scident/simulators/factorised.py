"""Factorised: latents of the context, of the treatment and of their interaction, mixed by a smooth invertible map."""

from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import Field, model_validator

from scident.errors import ScidentError
from scident.info import SimulatorInfo
from scident.params import PluginParams
from scident.simulators._ceiling import laplace_correlation
from scident.simulators._mixing import World, draw_expression, draw_mixing, expected, mix_blocks, variance
from scident.simulators._tables import conditionals, contrast_spectrum, draw_tables, rich

info = SimulatorInfo(
    label="Factorised",
    source="this project; graph of Mao, Lopez, Liu, Hütter, Richmond, Benos & Qiu (2024), NeurIPS, arXiv:2410.22472",
    gives_blocks=True,
)

LOWEST_CEILING = 0.97
MOST_DRAWS = 200
SIZE_SD = 0.3
"""Standard deviation of the logarithm of a cell's size."""
PER_CONDITION = 50
"""Cells of each condition behind the ceiling: its standard error is below 0.001 at the default size."""
PER_MOMENT = 4000
"""Draws behind each moment of a mixed block."""


class Params(PluginParams):
    """Parameters of the factorised world."""

    n_latents: int = Field(10, ge=3, description="True latents (factors): d_x + d_tx + d_t.")
    n_contexts: int = Field(6, ge=2, description="Contexts, such as cell lines.")
    n_treatments: int = Field(5, ge=1, description="Treatments beside the control.")
    d_x: int = Field(3, ge=1, description="Latents of the context.")
    d_tx: int = Field(4, ge=1, description="Latents of the interaction.")
    d_t: int = Field(3, ge=1, description="Latents of the treatment.")
    cells_per_condition: int = Field(1200, ge=1, description="Cells of each context under each treatment and control.")
    n_genes: int = Field(200, ge=2, description="Genes.")
    preset: Literal["mild", "hard"] = Field("mild", description="How strongly the latents are mixed.")
    observation: Literal["normal", "counts"] = Field(
        "normal",
        description="normal: Gaussian noise of sd 0.1; counts: negative binomial, cells of about 5,000 counts.",
    )
    interaction_rank: Literal[1, "full"] = Field(
        1, description="Rank of each interaction table; with full a pair cannot be predicted from the other pairs."
    )
    mix_block: bool = Field(
        False, description="Whether the latents of the context, and those of the treatment, are mixed among themselves."
    )
    interaction_strength: float = Field(
        2.0, ge=0, description="Size of the interaction in the means; 0 with constant_scale: no interaction."
    )
    constant_scale: bool = Field(False, description="Negative control: the interaction changes no variance.")
    shuffle_treatments: bool = Field(
        False, description="Negative control: treatment labels are permuted among the cells of each context."
    )

    @model_validator(mode="after")
    def _blocks_add_up(self) -> "Params":
        if self.n_latents != sum(self.sizes):
            raise ValueError(
                f"n_latents must be d_x + d_tx + d_t = {sum(self.sizes)}, found {self.n_latents}; "
                "change n_latents of the dataset or one of the three"
            )
        return self

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Latents of the blocks x, tx and t."""
        return self.d_x, self.d_tx, self.d_t

    @property
    def identified(self) -> bool:
        """Whether theory lets each latent of the interaction be told from the others."""
        contrasts = (self.n_contexts - 1) * self.n_treatments
        return 2 * self.d_tx <= contrasts and self.interaction_strength > 0 and not self.constant_scale

    @property
    def held_to_the_ceiling(self) -> bool:
        """Whether a world from which the latents cannot be read well is refused."""
        return self.identified and (self.preset, self.observation) == ("mild", "normal")


def simulate(params: Params, rng: np.random.Generator) -> ad.AnnData:
    r"""Draw a world, its latents and its expression.

    .. math:: y = B\,W_2\,\rho(W_1\,\rho(W_0 z)) + \varepsilon, \quad z = (z_x, z_{tx}, z_t)

    Parameters
    ----------
    params
        The world's size and kind.
    rng
        Source of all randomness.

    Returns
    -------
    Expression (cells × genes, float32, dense), cells in random order; obsm ``z_true`` and, with counts, ``size_true``
    (of each cell, relative to the median); uns ``observation``, ``blocks`` and ``world``.

    Raises
    ------
    ScidentError
        No world with identified latents was found.
    """
    world = _draw_world(params, rng)
    pairs = (params.n_treatments + 1) * params.n_contexts
    pair = rng.permutation(np.repeat(np.arange(pairs), params.cells_per_condition))
    z, x, size = _draw_cells(world, pair, rng)
    treatment, context = np.divmod(pair, params.n_contexts)
    if params.shuffle_treatments:
        for k in range(params.n_contexts):
            treatment[context == k] = rng.permutation(treatment[context == k])
    truth = {"z_true": z} if params.observation == "normal" else {"z_true": z, "size_true": size}
    uns = {"world": world, "blocks": np.repeat(["x", "tx", "t"], params.sizes), "observation": params.observation}
    var = pd.DataFrame(index=[f"gene{j}" for j in range(params.n_genes)])
    return ad.AnnData(x, obs=_obs(params, context, treatment), var=var, obsm=truth, uns=uns)


def _draw_world(params: Params, rng: np.random.Generator) -> dict[str, Any]:
    levels = params.n_contexts, params.n_treatments + 1
    for _ in range(MOST_DRAWS):
        tables = draw_tables(
            *levels, params.sizes, params.interaction_strength, params.interaction_rank, params.constant_scale, rng
        )
        spectrum = contrast_spectrum(tables["c"], tables["v"])
        if params.identified and not rich(spectrum, params.d_tx):
            continue
        mixing = draw_mixing(params.preset, params.observation, params.sizes, params.n_genes, params.mix_block, rng)
        world = {"simulator": "factorised", "params": params.model_dump(), **mixing}
        world |= {"tables": tables, "contrast_singular_values": spectrum}
        world["prior_mean"], world["prior_sd"] = _moments(world, rng)
        world["ceiling"] = _ceiling(world, params.d_x, params.d_tx, rng)
        if world["ceiling"] >= LOWEST_CEILING or not params.held_to_the_ceiling:
            return world
    raise ScidentError(f"none of {MOST_DRAWS} factorised worlds has latents that can be told apart; try another size")


def _draw_cells(
    world: World, pair: Int[np.ndarray, " cells"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "cells factors"], Float[np.ndarray, "cells genes"], Float[np.ndarray, "cells 1"]]:
    """Draw latents, expression and relative sizes of cells whose treatment and context are given as one code."""
    mean, sd = (table.reshape(-1, table.shape[2])[pair] for table in conditionals(world["tables"]))
    z = mix_blocks(world, mean + sd * rng.standard_normal(mean.shape))
    size = np.exp(SIZE_SD * rng.standard_normal((len(z), 1)))
    return z, draw_expression(world, z, size, rng), size


def _moments(
    world: World, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "treatments contexts factors"], Float[np.ndarray, "treatments contexts factors"]]:
    """Return mean and standard deviation of the latents in each condition: from draws, where blocks are mixed."""
    mean, sd = conditionals(world["tables"])
    if not world["params"]["mix_block"]:
        return mean, sd
    flat = np.stack([mean, sd]).reshape(2, -1, mean.shape[2])
    draws = rng.standard_normal((PER_MOMENT, mean.shape[2]))
    mixed = np.stack([mix_blocks(world, m + s * draws) for m, s in zip(*flat, strict=True)])
    return mixed.mean(1).reshape(mean.shape), mixed.std(1).reshape(mean.shape)


def _ceiling(world: World, d_x: int, d_tx: int, rng: np.random.Generator) -> float:
    """Return how well the interaction's latents can be told from expression, within conditions."""
    mean, sd = (world[name].reshape(-1, world[name].shape[2]) for name in ("prior_mean", "prior_sd"))
    pair = np.repeat(np.arange(len(mean)), PER_CONDITION)
    z, x, size = _draw_cells(world, pair, rng)
    centre, slopes = expected(world, z)
    if world["noise"] == "negative_binomial":
        centre, slopes = centre * size, slopes * size[:, :, None]
    found = laplace_correlation(
        z, x.astype(np.float64), centre, slopes, variance(world, centre), (mean[pair], sd[pair]), pair
    )
    return float(np.abs(found[d_x : d_x + d_tx]).mean())


def _obs(params: Params, context: Int[np.ndarray, " cells"], treatment: Int[np.ndarray, " cells"]) -> pd.DataFrame:
    contexts = [f"x{k:0{len(str(params.n_contexts - 1))}d}" for k in range(params.n_contexts)]
    width = len(str(params.n_treatments))
    treatments = ["control", *(f"t{k:0{width}d}" for k in range(1, params.n_treatments + 1))]
    return pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(treatment.tolist(), categories=pd.Index(treatments)),
            "is_control": treatment == 0,
            "context": pd.Categorical.from_codes(context.tolist(), categories=pd.Index(contexts)),
        },
        index=[f"cell{i}" for i in range(len(context))],
    )
