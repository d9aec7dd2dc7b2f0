"""The most variable genes as latents: replace this line by one that says what the model is."""

import anndata as ad
import numpy as np
from pydantic import Field

from scident.expression import log_normalised
from scident.info import ModelInfo
from scident.models.base import Model
from scident.params import PluginParams
from scident.types import Latents

info = ModelInfo(  # literals only: the registry reads them without importing this file
    label="template",  # its name in tables and figures
    source="this checkout",  # author, year, venue, identifier
    role="baseline",  # method, ablation, baseline, positive_control or negative_control
    gives=("latents",),  # also "targets" if `targets` answers, "likelihood" if `likelihood` does
    stochastic=False,  # True: fit draws from rng, and is called once for each seed
    light=True,  # seconds for each fit: the job is never cut into shards
)


class Params(PluginParams):
    """What a config entry may set beside `use`."""

    pseudocount: float = Field(0.0, ge=0, description="Added to each gene's standard deviation before dividing by it.")


class Template(Model):
    """Standardised log expression of the genes that vary most over the training cells."""

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Choose the genes; everything learned is kept as arrays in ``state``, which is saved and loaded for you."""
        x = log_normalised(train)
        spread = x.std(axis=0)
        genes = np.argsort(-spread, kind="stable")[: self.n_latents]
        assert isinstance(self.params, Params)
        scale = spread[genes] + self.params.pseudocount
        self.state = {"genes": genes, "centre": x[:, genes].mean(axis=0), "scale": np.where(scale > 0, scale, 1.0)}

    def embed(self, cells: ad.AnnData) -> Latents:
        """Return one row for each cell, from nothing but its counts and labels."""
        x = log_normalised(cells)[:, self.state["genes"]]
        z: Latents = (x - self.state["centre"]) / self.state["scale"]
        return z
