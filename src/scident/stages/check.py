"""What ``scident check FILE`` says: what is wrong, what is odd, and otherwise what the file holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import yaml
from pydantic import ValidationError
from scipy import sparse

from scident.datasets import _check, h5ad
from scident.errors import ConfigError, DataError


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


def _summary(adata: ad.AnnData, params: h5ad.Params) -> list[str]:
    sizes = adata.obs[params.perturbation].astype(str).value_counts()
    perturbed = sizes[sizes.index != params.control]
    controls = f"{sizes.loc[params.control]:,} ({params.control!r})" if params.control in sizes.index else "none"
    contexts = 1 if params.context is None else adata.obs[params.context].nunique()
    x = adata.X
    per_cell = np.asarray(x.sum(axis=1)).ravel()
    genes = x.getnnz(axis=1) if sparse.issparse(x) else np.count_nonzero(x, axis=1)
    given = ", ".join(params.model_dump(exclude_defaults=True, exclude={"path"}))
    first = f" (first set {given} of datasets.local in that file)" if given else ""
    return [
        f"cells               {adata.n_obs:,}",
        f"genes               {adata.n_vars:,}",
        f"perturbations       {len(perturbed):,}, cells of each {_check.spread(perturbed)} (min – median – max)",
        f"control cells       {controls}",
        f"contexts            {contexts:,}" + ("" if params.context is None else f" (obs[{params.context!r}])"),
        f"counts per cell     {_check.spread(per_cell)}",
        f"genes per cell      {_check.spread(genes)}",
        f"zeros               {100 * (1 - genes.sum() / (adata.n_obs * adata.n_vars)):.1f} % of all values",
        f"truth               {'known' if params.truth is not None else 'unknown: stability and probes only'}",
        f"run it              snakemake --cores 2 --configfile config/local.yaml --config path={params.path}{first}",
        f"in a configuration  datasets: {_entry(params)}",
    ]


def _entry(params: h5ad.Params) -> str:
    entry = {"mine": {"use": "h5ad", **params.model_dump(exclude_defaults=True)}}
    written: str = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return written.strip()
