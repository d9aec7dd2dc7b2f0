"""CRISPRa screen of single genes and pairs in K562 cells."""

from pathlib import Path

import anndata as ad

from scident.datasets import _published
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Norman 2019",
    source="Norman et al. (2019), Science 365:786; GEO GSE133344",
    doi="10.1126/science.aax4438",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="NormanWeissman2019_filtered.h5ad",
            urls=(
                "https://zenodo.org/records/13350497/files/NormanWeissman2019_filtered.h5ad?download=1",
                "https://zenodo.org/api/records/13350497/files/NormanWeissman2019_filtered.h5ad/content",
                "https://zenodo.org/records/10044268/files/NormanWeissman2019_filtered.h5ad?download=1",
            ),
            bytes=698680199,
            md5="c870e6967d91c017d9da827bab183cd6",
        ),
    ),
    columns=Columns(batch=("gemgroup",)),
    stored=Size(cells=111445, genes=33694, perturbations=236),
    loaded=Size(cells=111445, genes=33694, perturbations=236),
    good_for="pairs of perturbations",
)


class Params(_published.PublishedParams):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the screen; see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)


def _pair(label: str) -> str:
    """Write ``AHR_KLF1`` as ``AHR+KLF1``."""
    return label.replace("_", "+")


LAYOUT = _published.Layout(relabel=_pair)
