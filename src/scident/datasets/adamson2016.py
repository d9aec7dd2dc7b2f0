"""CRISPRi screen of the unfolded protein response in K562 cells."""

from pathlib import Path

import anndata as ad

from scident.datasets import _published
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Adamson 2016",
    source="Adamson et al. (2016), Cell 167:1867; GEO GSE90546",
    doi="10.1016/j.cell.2016.11.048",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="AdamsonWeissman2016_GSM2406681_10X010.h5ad",
            urls=(
                "https://zenodo.org/records/13350497/files/AdamsonWeissman2016_GSM2406681_10X010.h5ad?download=1",
                "https://zenodo.org/api/records/13350497/files/AdamsonWeissman2016_GSM2406681_10X010.h5ad/content",
                "https://zenodo.org/records/10044268/files/AdamsonWeissman2016_GSM2406681_10X010.h5ad?download=1",
            ),
            bytes=471286951,
            md5="2fa44ea61a8dd35742af618638ec65fc",
        ),
    ),
    columns=Columns(),
    stored=Size(cells=65337),
    good_for="a pathway screen of about ninety genes",
    unverified=("control",),
    note="cells without a guide or with several (*) are left out",
)
CONTROLS = ("62(mod)", "63(mod)", "Gal4-4(mod)")
"""Guides that target nothing, named by their plasmids."""


class Params(_published.PublishedParams):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the main screen (10X010); see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)


def _gene(guide: str) -> str:
    """Return the gene of a guide such as ``SRP68_pDS033``."""
    gene = guide.split("_", maxsplit=1)[0]
    return "control" if gene in CONTROLS else "" if gene == "*" else gene


LAYOUT = _published.Layout(relabel=_gene)
