"""A small, sound AnnData file's worth of cells, for tests of reading, splitting and stages."""

import anndata as ad
import numpy as np
import pandas as pd


def cells(labels=("control", "a", "b", "c"), per_label=20, genes=12, contexts=("all",), seed=0):
    """Poisson counts of mean 3, labels and contexts in turn, a batch column; no cell is empty."""
    rng = np.random.default_rng(seed)
    n = len(labels) * per_label
    counts = rng.poisson(3.0, (n, genes)).astype(np.float32)
    counts[:, 0] += 1
    obs = pd.DataFrame(
        {
            "perturbation": np.resize(np.array(labels, dtype=object), n),
            "line": np.repeat(np.array(contexts, dtype=object), -(-n // len(contexts)))[:n],
            "lane": np.resize(np.array(["l1", "l2"], dtype=object), n),
        },
        index=[f"c{i}" for i in range(n)],
    )
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{j}" for j in range(genes)]))


def mapped(**options):
    """The same as a dataset plug-in returns it."""
    adata = cells(**options)
    order = sorted(adata.obs["perturbation"].unique())
    adata.obs["is_control"] = (adata.obs["perturbation"] == "control").to_numpy()
    adata.obs["context"] = pd.Categorical(adata.obs["line"])
    adata.obs["perturbation"] = pd.Categorical(adata.obs["perturbation"], categories=order)
    adata.obs = adata.obs[["perturbation", "is_control", "context"]]
    return adata
