"""Essential-gene CRISPRi screen in K562 cells."""

from pathlib import Path

import anndata as ad

from scident.datasets import _published, _replogle
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Replogle 2022, K562 essential",
    source="Replogle et al. (2022), Cell 185:2559",
    doi="10.1016/j.cell.2022.05.013",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="ReplogleWeissman2022_K562_essential.h5ad",
            urls=(
                "https://zenodo.org/records/13350497/files/ReplogleWeissman2022_K562_essential.h5ad?download=1",
                "https://zenodo.org/api/records/13350497/files/ReplogleWeissman2022_K562_essential.h5ad/content",
                "https://exampledata.scverse.org/pertpy/replogle_2022_k562_essential.h5ad",
            ),
            bytes=1546729675,
            md5="d8cba17576d1a8afc0f7d71b79cad0f7",
            sha256="412fd0df8c4ccea9f4db91cd88033c49200838b29d40945e48574be588b48789",
        ),
        File(
            name="K562_essential_raw_singlecell_01.h5ad",
            urls=("https://plus.figshare.com/ndownloader/files/35773219",),
            bytes=10661879995,
            md5="4f1122ce1c7f13299a68df6459a266d3",
        ),
    ),
    columns=Columns(
        perturbation=("perturbation", "gene"),
        control="non-targeting",
        batch=("batch", "gem_group"),
        gene=("gene_name",),
    ),
    stored=Size(cells=310385, genes=8563, perturbations=2057),
    loaded=Size(cells=310385, genes=8563, perturbations=2057),
    good_for="many genetic perturbations in one line",
)
LAYOUT = _published.Layout()


class Params(_replogle.Params):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the screen; see `_replogle.load`."""
    return _replogle.load(info, LAYOUT, params, cache)
