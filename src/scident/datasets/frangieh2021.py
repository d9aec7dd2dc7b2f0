"""Perturb-CITE-seq: knock-outs in melanoma cells under three conditions."""

from pathlib import Path

import anndata as ad

from scident.datasets import _published
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Frangieh 2021",
    source="Frangieh et al. (2021), Nature Genetics 53:332; SCP1064",
    doi="10.1038/s41588-021-00779-1",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="FrangiehIzar2021_RNA.h5ad",
            urls=(
                "https://zenodo.org/records/10044268/files/FrangiehIzar2021_RNA.h5ad?download=1",
                "https://zenodo.org/api/records/10044268/files/FrangiehIzar2021_RNA.h5ad/content",
                "https://zenodo.org/records/13350497/files/FrangiehIzar2021_RNA.h5ad?download=1",
            ),
            bytes=1458928348,
            md5="dc438f53c476a3dd562898654d48ed15",
        ),
    ),
    columns=Columns(context=("perturbation_2",)),
    stored=Size(cells=218331, genes=23712, perturbations=248),
    good_for="genetic perturbations in three contexts",
    note="contexts are Control, IFN-gamma and Co-culture; the control among perturbations is another one",
)
LAYOUT = _published.Layout()


class Params(_published.PublishedParams):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the screen; see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)
