"""Four drugs at seven doses on A549 cells."""

from pathlib import Path

import anndata as ad

from scident.datasets import _published
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="sci-Plex 2",
    source="Srivatsan et al. (2020), Science 367:45; GEO GSE139944",
    doi="10.1126/science.aax6234",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="SrivatsanTrapnell2020_sciplex2.h5ad",
            urls=(
                "https://zenodo.org/records/13350497/files/SrivatsanTrapnell2020_sciplex2.h5ad?download=1",
                "https://zenodo.org/api/records/13350497/files/SrivatsanTrapnell2020_sciplex2.h5ad/content",
            ),
            bytes=145178504,
        ),
    ),
    columns=Columns(context=("cell_line",), dose=("dose_value",)),
    stored=Size(cells=24262, perturbations=4),
    good_for="doses in one line",
    unverified=("perturbations", "control"),
    note="the file calls cells without a drug barcode control; cells of a drug at dose 0 are controls here too",
)
LAYOUT = _published.Layout()


class Params(_published.PublishedParams):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the screen; see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)
