"""Genome-wide CRISPRi screen in K562 cells: by default the subset on which sVAE+ was studied."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import Field

from scident import rng
from scident.datasets import _published, _replogle
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Replogle 2022, K562 genome-wide",
    source="Replogle et al. (2022), Cell 185:2559; subset of Lopez et al. (2023), CLeaR",
    doi="10.1016/j.cell.2022.05.013",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="ReplogleWeissman2022_K562_gwps.h5ad",
            urls=(
                "https://zenodo.org/records/13350497/files/ReplogleWeissman2022_K562_gwps.h5ad?download=1",
                "https://zenodo.org/api/records/13350497/files/ReplogleWeissman2022_K562_gwps.h5ad/content",
                "https://exampledata.scverse.org/pertpy/replogle_2022_k562_gwps.h5ad",
            ),
            bytes=8805466154,
            md5="13db594f8f1d2ccb88fec44a13e414dc",
        ),
        File(
            name="K562_gwps_raw_singlecell_01.h5ad",
            urls=("https://plus.figshare.com/ndownloader/files/35775507",),
            bytes=65830941948,
            md5="887e3e6a8c8df6eadf7a3030a53c9546",
            sha256="b697ef7fedcec2972ec334608f86f2a29cb25e70c81b6725195f4cda60a9de2c",
        ),
    ),
    columns=Columns(
        perturbation=("perturbation", "gene"),
        control="non-targeting",
        batch=("batch", "gem_group"),
        gene=("gene_name",),
    ),
    stored=Size(cells=1989578, genes=8248, perturbations=9866),
    loaded=Size(cells=116641, genes=1187, perturbations=681),
    good_for="held-out pathways; sVAE+ as published",
    note="the subset has no control cells unless `controls` asks for some",
)


class Params(_replogle.Params):
    """What a config entry may set."""

    subset: Literal["svae", "all"] = Field(
        "svae",
        description="svae: the 681 perturbations and 1,187 genes of Lopez et al. (2023); all: everything, which takes "
        "tens of gigabytes of memory.",
    )
    controls: int = Field(
        0, ge=0, description="Control cells kept beside the subset, drawn once and for all; SAMS-VAE has 2,000."
    )


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the subset of Lopez et al. (2023), or the whole screen; see `_replogle.load`."""
    loaded = info.stored
    if params.subset == "svae":
        cells = None if info.loaded.cells is None else info.loaded.cells + params.controls
        loaded = replace(info.loaded, cells=cells)
    return _replogle.load(info, LAYOUT, params, cache, loaded)


def _listed(what: str) -> list[str]:
    """Return the symbols of the published subset: perturbations or genes."""
    found: dict[str, list[str]] = json.loads(Path(__file__).with_name("_replogle_subset.json").read_text())
    return found[what]


def _keep(obs: pd.DataFrame, cells: pd.DataFrame, params: Params) -> Bool[np.ndarray, " cells"]:
    """Keep the cells of the listed perturbations, and so many controls."""
    if params.subset == "all":
        return np.ones(len(obs), dtype=bool)
    chosen = cells["perturbation"].isin(_listed("perturbations")).to_numpy()
    controls = np.flatnonzero(cells["is_control"])
    drawn = rng.generator("data", dataset=f"{info.label}, controls").permutation(controls)[: params.controls]
    chosen[drawn] = True
    return chosen


def _genes(var: pd.DataFrame, names: pd.Index, params: Params) -> Bool[np.ndarray, " genes"]:
    """Keep the listed genes; HSPA14 stands for two columns, whose names carry their identifiers."""
    if params.subset == "all":
        return np.ones(len(names), dtype=bool)
    symbol = names.str.replace(r"_ENSG\d+$", "", regex=True)
    return symbol.isin(_listed("genes"))


LAYOUT = _published.Layout(keep=_keep, genes=_genes)
