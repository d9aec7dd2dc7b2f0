"""Intestinal epithelium of mice after infection."""

from pathlib import Path

import anndata as ad

from scident.datasets import _published
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Haber 2017",
    source="Haber et al. (2017), Nature 551:333; GEO GSE92332",
    doi="10.1038/nature24489",
    licence="GEO, public",
    organism="mouse",
    files=(
        File(
            name="haber_2017_regions.h5ad",
            urls=(
                "https://exampledata.scverse.org/pertpy/haber_2017_regions.h5ad",
                "https://figshare.com/ndownloader/files/54169301",
            ),
            verified=False,
        ),
    ),
    columns=Columns(perturbation=("condition",), control="Control", context=("cell_label",), batch=("batch",)),
    stored=Size(cells=9842, genes=15215, perturbations=3),
    loaded=Size(cells=9842, genes=15215, perturbations=3),
    good_for="a few stimuli in eight cell types",
    unverified=("cells", "genes", "batch", "licence"),
)
LAYOUT = _published.Layout()


class Params(_published.PublishedParams):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the experiment; see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)
