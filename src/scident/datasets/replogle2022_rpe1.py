"""Essential-gene CRISPRi screen in RPE1 cells."""

from pathlib import Path

import anndata as ad

from scident.datasets import _published, _replogle
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Replogle 2022, RPE1",
    source="Replogle et al. (2022), Cell 185:2559",
    doi="10.1016/j.cell.2022.05.013",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="ReplogleWeissman2022_rpe1.h5ad",
            urls=(
                "https://zenodo.org/records/13350497/files/ReplogleWeissman2022_rpe1.h5ad?download=1",
                "https://zenodo.org/api/records/13350497/files/ReplogleWeissman2022_rpe1.h5ad/content",
                "https://exampledata.scverse.org/pertpy/replogle_2022_rpe1.h5ad",
            ),
            bytes=1236886900,
            md5="cc7f1ec50aeb3a3e1b4a6cfa713d80fa",
            sha256="12d6a0cf9378c4f09411e27f0ce07b59f1d97731bd576d6fadf112f6f088d1a4",
        ),
        File(
            name="rpe1_raw_singlecell_01.h5ad",
            urls=("https://plus.figshare.com/ndownloader/files/35775606",),
            bytes=8700873216,
            md5="6a2a9d0d2bf4ec147f4d1104043b268c",
        ),
    ),
    columns=Columns(
        perturbation=("perturbation", "gene"),
        control="non-targeting",
        batch=("batch", "gem_group"),
        gene=("gene_name",),
    ),
    stored=Size(cells=247914, genes=8749, perturbations=2393),
    loaded=Size(cells=247914, genes=8749, perturbations=2393),
    good_for="many genetic perturbations in one line that is no cancer",
    unverified=("genes",),
)
LAYOUT = _published.Layout()


class Params(_replogle.Params):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the screen; see `_replogle.load`."""
    return _replogle.load(info, LAYOUT, params, cache)
