"""MIX-seq: drugs on pools of 172 cancer cell lines."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import Field

from scident.datasets import _drugs, _published
from scident.errors import DataError
from scident.info import Columns, DatasetInfo, File, Size

info = DatasetInfo(
    label="McFarland 2020, MIX-seq",
    source="McFarland et al. (2020), Nature Communications 11:4296",
    doi="10.1038/s41467-020-17440-w",
    licence="CC-BY-4.0",
    organism="human",
    files=(
        File(
            name="McFarlandTsherniak2020.h5ad",
            urls=(
                "https://zenodo.org/records/13350497/files/McFarlandTsherniak2020.h5ad?download=1",
                "https://zenodo.org/api/records/13350497/files/McFarlandTsherniak2020.h5ad/content",
            ),
            bytes=1459410830,
            verified=False,
        ),
    ),
    columns=Columns(context=("cell_line",), dose=("dose_value",)),
    stored=Size(cells=182875, genes=32738, perturbations=17),
    good_for="drugs in very many contexts",
    unverified=("genes", "perturbations", "control", "dose"),
    note="cells of good quality under drugs; the knock-outs in the same file are left out",
)


class Params(_published.PublishedParams):
    """What a config entry may set."""

    hours: float | None = Field(24, gt=0, description="Hours of treatment, 24 for most drugs; null: all together.")


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return the drug screen; see `_published.load`."""
    return _published.load(info, LAYOUT, params, cache)


def _keep(obs: pd.DataFrame, cells: pd.DataFrame, params: Params) -> Bool[np.ndarray, " cells"]:
    """Keep single cells of good quality under drugs or vehicle, at the hours asked for."""
    missing = sorted({"perturbation_type", "cell_quality"} - set(obs))
    if missing:
        raise DataError(f"obs lacks {missing}, found {list(map(str, obs.columns))}; get the published file")
    wanted = (obs["perturbation_type"].astype(str) == "drug") & (obs["cell_quality"].astype(str) == "normal")
    return np.asarray(wanted.to_numpy() & _drugs.at_hours(obs, cells, params))


LAYOUT = _published.Layout(keep=_keep)
