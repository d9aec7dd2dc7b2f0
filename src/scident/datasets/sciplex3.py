"""188 drugs at four doses on three cancer cell lines."""

from pathlib import Path

import anndata as ad
from pydantic import Field

from scident.datasets import _drugs, _published
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="sci-Plex 3",
    source="Srivatsan et al. (2020), Science 367:45; GEO GSE139944",
    doi="10.1126/science.aax6234",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="SrivatsanTrapnell2020_sciplex3.h5ad",
            urls=(
                "https://zenodo.org/records/13350497/files/SrivatsanTrapnell2020_sciplex3.h5ad?download=1",
                "https://zenodo.org/api/records/13350497/files/SrivatsanTrapnell2020_sciplex3.h5ad/content",
            ),
            bytes=2526631614,
            md5="c9e70629505d98c7ca1a837f62b14e89",
            sha256="603ed16c5e25401c8a7f5bb0b2b045179701017d65dcfc6aeea71722a66cd10a",
        ),
    ),
    columns=Columns(context=("cell_line",), dose=("dose_value",), batch=("replicate",)),
    stored=Size(cells=799317, genes=110983, perturbations=188),
    good_for="drugs, doses and contexts",
    unverified=("batch",),
    note="doses in nM; cells without drug or line are left out, and mouse genes; older copies of the file hold errors",
)


class Params(_published.PublishedParams):
    """What a config entry may set."""

    hours: float | None = Field(
        24, gt=0, description="Hours of treatment: 24 (every line) or 72 (A549 only); null: both together."
    )


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the screen; see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)


LAYOUT = _published.Layout(keep=_drugs.at_hours, genes=_drugs.human_genes)
