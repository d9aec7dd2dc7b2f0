"""Blood cells of eight patients with and without interferon β."""

from pathlib import Path

import anndata as ad

from scident.datasets import _published
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Kang 2018",
    source="Kang et al. (2018), Nature Biotechnology 36:89; GEO GSE96583",
    doi="10.1038/nbt.4042",
    licence="GEO, public",
    organism="human",
    files=(
        File(
            name="kang_2018.h5ad",
            urls=(
                "https://exampledata.scverse.org/pertpy/kang_2018.h5ad",
                "https://figshare.com/ndownloader/files/34464122",
                "https://api.figshare.com/v2/file/download/34464122",
            ),
            bytes=38356412,
            sha256="e6a5adac64dcdeb36eaba27db49b63e0c64bb0ed4a64c6705971506b41c39830",
        ),
    ),
    columns=Columns(perturbation=("label",), control="ctrl", context=("cell_type",), batch=("replicate",)),
    stored=Size(cells=24673, genes=15706, perturbations=1),
    loaded=Size(cells=24673, genes=15706, perturbations=1),
    good_for="one strong stimulus in eight cell types; a small first download",
    unverified=("licence",),
)
LAYOUT = _published.Layout()


class Params(_published.PublishedParams):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the experiment; see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)
