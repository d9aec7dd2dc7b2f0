"""What ``scident check FILE`` says: what is wrong, what is odd, and otherwise what the file holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from pydantic import ValidationError
from scipy import sparse

from scident import registry
from scident.datasets import _check, _published, h5ad
from scident.errors import ConfigError, DataError, nearest


@dataclass(frozen=True)
class Report:
    """Findings about one file, one sentence each."""

    errors: list[str] = field(default_factory=list)
    """What forbids using the file."""
    notes: list[str] = field(default_factory=list)
    """What is odd but usable."""
    summary: list[str] = field(default_factory=list)
    """What the file holds; empty if it cannot be used."""

    def text(self) -> str:
        """Return the findings as lines: errors first, then notes, then the summary."""
        parts = [("error", self.errors), ("note ", self.notes)]
        lines = [f"{kind}  {sentence}" for kind, sentences in parts for sentence in sentences]
        verdict = [] if self.errors else ["usable" if not self.notes else "usable, with the notes above"]
        return "\n".join([*lines, *verdict, *self.summary])


def run(path: Path, params: Mapping[str, Any] | None = None) -> Report:
    """Look at a user's file with the same eyes as the data stage.

    Parameters
    ----------
    path
        The h5ad file.
    params
        Keys of a ``use: h5ad`` entry other than path; left out keys take their defaults.

    Raises
    ------
    ConfigError
        A key or value of `params` is unknown.
    """
    try:
        resolved = h5ad.Params(**{**(params or {}), "path": str(path)})
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise ConfigError(
            f"check: option {key!r}: {problem['msg'].lower()}; known: {sorted(h5ad.Params.model_fields)}"
        ) from error
    try:
        adata = h5ad.read(path)
    except DataError as error:
        return Report(errors=[str(error).removeprefix(f"{path}: ")])
    errors, notes = h5ad.inspect(adata, resolved)
    return Report(errors, notes, [] if errors else _summary(adata, resolved))


def run_published(path: Path, dataset: str, keys: Mapping[str, Any] | None = None) -> Report:
    """Look at a copy, or a part, of a published file as the dataset's loader does.

    Other numbers of cells, genes or perturbations than the published ones are notes: a config entry can name the file
    by `path` all the same.

    Parameters
    ----------
    path
        The h5ad file.
    dataset
        A file in ``datasets/`` that downloads.
    keys
        Keys of the columns, of which none may be given: the dataset knows its own.

    Raises
    ------
    ConfigError
        The dataset is not a published one, or a key is given.
    """
    module = registry.load("datasets", dataset)
    if not hasattr(module, "LAYOUT"):
        known = [name for name in registry.known("datasets") if hasattr(registry.load("datasets", name), "LAYOUT")]
        raise ConfigError(f"check: {dataset!r} is no published dataset; known: {known}.{nearest(dataset, known)}")
    if keys:
        raise ConfigError(f"check: {dataset} knows its own columns; leave out {sorted(keys)} or --dataset")
    notes: list[str] = []
    judge = _published.judging(module.info, True, notes.append)
    try:
        adata = _published.read(path, module.info, module.LAYOUT, module.Params(), judge)
    except (ConfigError, DataError) as error:
        return Report(errors=[str(error).removeprefix(f"{path}: ")])
    notes += _check.oddities(adata, "perturbation")
    return Report(notes=notes, summary=_published_summary(adata, dataset, path))


def _published_summary(adata: ad.AnnData, dataset: str, path: Path) -> list[str]:
    control = adata.obs.loc[adata.obs["is_control"], "perturbation"].astype(str)
    counted = {name: adata.obs[name].nunique() for name in ("context", "dose", "batch") if name in adata.obs}
    return [
        *_facts(adata, "perturbation", None if control.empty else control.iloc[0]),
        *(f"{name + 's' if name != 'batch' else 'batches':<20}{number:,}" for name, number in counted.items()),
        *_counts(adata),
        f"in a configuration  datasets: {_flow({dataset: {'path': str(path)}})}",
    ]


def _facts(adata: ad.AnnData, perturbation: str, control: str | None) -> list[str]:
    sizes: pd.Series[int] = adata.obs[perturbation].astype(str).value_counts()
    perturbed = sizes[sizes.index != control]
    controls = "none" if control not in sizes.index else f"{sizes.loc[str(control)]:,} ({control!r})"
    return [
        f"cells               {adata.n_obs:,}",
        f"genes               {adata.n_vars:,}",
        f"perturbations       {len(perturbed):,}, cells of each {_check.spread(perturbed)} (min – median – max)",
        f"control cells       {controls}",
    ]


def _counts(adata: ad.AnnData) -> list[str]:
    x = adata.X
    genes = x.getnnz(axis=1) if sparse.issparse(x) else np.count_nonzero(x, axis=1)
    return [
        f"counts per cell     {_check.spread(_check.totals(x, 1))}",
        f"genes per cell      {_check.spread(genes)}",
        f"zeros               {100 * (1 - genes.sum() / (adata.n_obs * adata.n_vars)):.1f} % of all values",
    ]


def _summary(adata: ad.AnnData, params: h5ad.Params) -> list[str]:
    contexts = 1 if params.context is None else adata.obs[params.context].nunique()
    given = ", ".join(params.model_dump(exclude_defaults=True, exclude={"path"}))
    first = f" (first set {given} of datasets.local in that file)" if given else ""
    return [
        *_facts(adata, params.perturbation, params.control),
        f"contexts            {contexts:,}" + ("" if params.context is None else f" (obs[{params.context!r}])"),
        *_counts(adata),
        f"truth               {'known' if params.truth is not None else 'unknown: stability and probes only'}",
        f"run it              snakemake --cores 2 --configfile config/local.yaml --config path={params.path}{first}",
        f"in a configuration  datasets: {_flow({'mine': {'use': 'h5ad', **params.model_dump(exclude_defaults=True)}})}",
    ]


def _flow(entry: Mapping[str, Any]) -> str:
    """Write an entry as YAML in one line."""
    written: str = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return written.strip()
