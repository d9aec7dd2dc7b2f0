"""Stage data: load or simulate one replicate, move the truth out of sight, check both, write both.

Reads a registry entry; writes ``data/{dataset}/r{replicate}.h5ad`` and, where the truth is known, ``….truth.h5ad``.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from scident import contracts, io, registry, rng
from scident.errors import PluginError

log = logging.getLogger(__name__)


def run(spec: Mapping[str, Any], replicate: int, data: Path, truth: Path | None, cache: Path) -> None:
    """Make one replicate of a dataset.

    Parameters
    ----------
    spec
        name, kind (simulators or datasets), use, params, plugins.
    replicate
        Number of the replicate: simulators redraw the whole world, real data stay as they are.
    data, truth
        Where to write; no truth is written if the dataset has none, nothing at all if a check fails.
    cache
        Folder for downloads.

    Raises
    ------
    DataError, ContractError, PluginError
        The file or the plug-in does not give what it must.
    """
    registry.register(spec.get("plugins", ()))
    module = registry.load(spec["kind"], spec["use"])
    params = module.Params(**spec["params"])
    if spec["kind"] == "simulators":
        adata = module.simulate(params, rng.generator("data", dataset=spec["name"], replicate=replicate))
    else:
        adata = module.load(params, cache)
    observed, hidden = separate(adata)
    contracts.check_data(observed)
    if hidden is not None:
        contracts.check_truth(hidden)
    if truth is not None and hidden is None:
        raise PluginError(
            f"{spec['name']}: a truth file is asked for, but {spec['use']}.py gives none in obsm['z_true']"
        )
    if truth is not None and hidden is not None:
        io.write_h5ad(hidden, truth)
    io.write_h5ad(observed, data)
    kinds = observed.obs["perturbation"].cat.categories
    log.info("%s r%d: %d cells, %d genes, %d perturbations", spec["name"], replicate, *observed.shape, len(kinds))


def separate(adata: ad.AnnData) -> tuple[ad.AnnData, ad.AnnData | None]:
    """Return what models may see and, if there is any, the truth; neither keeps anything of the other.

    Models see expression, names and the contract's columns: any other column of obs or var may give the truth away.
    """
    obs = adata.obs[[name for name in contracts.OBS_COLUMNS if name in adata.obs]].copy()
    observed = ad.AnnData(adata.X, obs=obs, var=pd.DataFrame(index=adata.var_names))
    if "observation" in adata.uns:
        observed.uns["observation"] = adata.uns["observation"]
    if "z_true" not in adata.obsm:
        return observed, None
    known = {name: np.asarray(value) for name, value in adata.obsm.items() if name.endswith("_true")}
    hidden = ad.AnnData(obs=pd.DataFrame(index=adata.obs_names), obsm=known)
    hidden.uns = {name: value for name, value in adata.uns.items() if name != "observation"}
    if "shift" in hidden.uns:
        hidden.uns["targets"] = np.asarray(hidden.uns["shift"]) != 0
    hidden.uns["perturbations"] = adata.obs["perturbation"].cat.categories.to_numpy(dtype=object)
    return observed, hidden
