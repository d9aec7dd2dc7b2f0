"""Knock-outs of transcription factors in K562 cells, several to a cell."""

import re
from pathlib import Path

import anndata as ad

from scident.datasets import _published
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="Dixit 2016",
    source="Dixit et al. (2016), Cell 167:1853; GEO GSE90063",
    doi="10.1016/j.cell.2016.11.038",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="DixitRegev2016.h5ad",
            urls=(
                "https://zenodo.org/records/10044268/files/DixitRegev2016.h5ad?download=1",
                "https://zenodo.org/api/records/10044268/files/DixitRegev2016.h5ad/content",
            ),
            md5="2c2a889ef63100eb44e2e0d43d691ddc",
            verified=False,
        ),
    ),
    columns=Columns(),
    stored=Size(cells=51898),
    good_for="combinations of knock-outs, most of them rare",
    unverified=("cells", "control"),
    note="controls have intergenic guides only; cells that the file calls control have no guide and are left out",
)


class Params(_published.PublishedParams):
    """What a config entry may set."""


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the high-multiplicity screen; see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)


def _genes(label: str) -> str:
    """Return the genes of guides such as ``p_sgELK1_2 + p_INTERGENIC393453``, in alphabetical order."""
    if label == "control":
        return ""
    guides = [re.sub(r"^p_(sg)?", "", guide.strip()) for guide in label.split("+")]
    genes = {guide.split("_", maxsplit=1)[0] for guide in guides if not guide.startswith("INTERGENIC")}
    return "+".join(sorted(genes)) or "control"


LAYOUT = _published.Layout(relabel=_genes)
