"""ECCITE-seq: knock-outs of regulators of immune checkpoints in stimulated THP-1 cells."""

import re
from pathlib import Path

import anndata as ad

from scident.datasets import _published
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Papalexi 2021",
    source="Papalexi et al. (2021), Nature Genetics 53:322; GEO GSE153056",
    doi="10.1038/s41588-021-00778-2",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="PapalexiSatija2021_eccite_RNA.h5ad",
            urls=(
                "https://zenodo.org/records/13350497/files/PapalexiSatija2021_eccite_RNA.h5ad?download=1",
                "https://zenodo.org/api/records/13350497/files/PapalexiSatija2021_eccite_RNA.h5ad/content",
            ),
            bytes=147215278,
            md5="d9e8bfe20b0e7b0919be042e8fcf6d03",
            verified=False,
        ),
    ),
    columns=Columns(batch=("replicate", "hto")),
    stored=Size(cells=20729, perturbations=25),
    good_for="a small genetic screen with many true nulls",
    unverified=("perturbations", "control", "batch"),
    note="guides of a gene are taken together",
)


class Params(_published.PublishedParams):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the screen; see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)


def _gene(guide: str) -> str:
    """Return the gene of a guide such as ``ATF2g1``; guides NTg1, NTg2 … target nothing."""
    gene = re.sub(r"g\d+$", "", guide)
    return "control" if gene == "NT" else gene


LAYOUT = _published.Layout(relabel=_gene)
