"""A table of counts: replace this line by one that says which data these are."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field

from scident.datasets.base import natural_order
from scident.errors import DataError
from scident.info import DatasetInfo
from scident.params import PluginParams

info = DatasetInfo(  # literals only: the registry reads them without importing this file
    label="template",  # its name in tables and figures
    source="this checkout",  # author, year, venue, identifier
    licence="BSD-3-Clause",
    organism="none",
)


class Params(PluginParams):
    """What a config entry may set beside `use` and `n_latents`."""

    table: str | None = Field(
        None,
        description="CSV file: a column of cell names, a column `perturbation`, a column of counts for each gene; "
        "null: a small example.",
    )
    control: str = Field("control", description="Label of the unperturbed cells.")


def load(params: Params, cache: Path) -> ad.AnnData:
    """Return all cells; a dataset that is downloaded keeps its files in the folder `cache`.

    Raises
    ------
    DataError
        There is no such table, or it has no column of labels.
    """
    table = _example() if params.table is None else _read(Path(params.table))
    label = table.pop("perturbation").astype(str)
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(label, categories=natural_order(label.unique())),
            "is_control": (label == params.control).to_numpy(),
            "context": pd.Categorical(["all"] * len(table)),
        },
        index=table.index.astype(str),
    )
    return ad.AnnData(table.to_numpy(dtype=np.float32), obs=obs, var=pd.DataFrame(index=table.columns.astype(str)))


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path}: no such file; check `table`, it counts from the folder you run in")
    table = pd.read_csv(path, index_col=0)
    if "perturbation" not in table:
        raise DataError(
            f"{path}: no column 'perturbation', found {list(table.columns[:5])}; name the column of labels so"
        )
    return table


def _example() -> pd.DataFrame:
    """Ten perturbations and a control, each of which raises four genes; the same on every call."""
    rng = np.random.default_rng(0)
    names = ["control", *(f"p{k}" for k in range(10))]
    code = np.arange(90 * len(names)) % len(names)
    mean = np.full((len(names), 4 * len(names)), 2.0)
    for k in range(len(names)):
        mean[k, 4 * k : 4 * k + 4] = 6.0
    table = pd.DataFrame(rng.poisson(mean[code]), index=[f"cell{i}" for i in range(len(code))])
    return table.rename(columns=lambda j: f"gene{j}").assign(perturbation=np.array(names)[code])
