"""What there is to run: model entries, controls included, and runs cut into jobs."""

import itertools
from dataclasses import dataclass
from typing import Any

from scident import config as configuration
from scident import registry
from scident.config import Config
from scident.info import ModelInfo


@dataclass(frozen=True)
class Model:
    """A model entry, or a control that the configuration need not name."""

    name: str
    use: str
    info: ModelInfo
    params: dict[str, Any]
    grid: dict[str, dict[str, Any]]
    """Grid point name to the parameters of that point (all of them)."""
    n_latents: int | None
    members_per_job: int | None
    datasets: tuple[str, ...] | None
    """Datasets it runs on; None: all."""


@dataclass(frozen=True)
class Run:
    """One dataset × split × model."""

    dataset: str
    split: str
    model: Model
    replicates: tuple[int, ...]
    seeds: tuple[int, ...]
    """Seeds the results are written under."""
    skipped: str | None
    """Why no job exists (no_truth, no_blocks, no_prediction), or None."""

    @property
    def members(self) -> list[tuple[int, str, int]]:
        """(replicate, grid point, seed) of everything that is fitted, replicate by replicate."""
        seeds = self.seeds if self.model.info.stochastic else self.seeds[:1]
        return list(itertools.product(self.replicates, self.model.grid, seeds))

    @property
    def shards(self) -> list[list[tuple[int, str, int]]]:
        """The members cut into jobs; where a grid point is to be chosen, a replicate's members stay together."""
        size = len(self.members) if self.model.info.light else (self.model.members_per_job or len(self.members))
        if len(self.model.grid) > 1:
            together = len(self.members) // len(self.replicates)
            size = max(size // together, 1) * together
        return [self.members[i : i + size] for i in range(0, len(self.members), size)]


def grid_points(grid: dict[str, list[Any]], params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name every combination of a grid, as in ``penalty=100``, and give its full parameters; no grid is ``default``."""
    if not grid:
        return {"default": params}
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return {",".join(f"{k}={v}" for k, v in point.items()): params | point for point in combinations}


def models_of(config: Config) -> list[Model]:
    """Return the configured models and every control that is not among them."""
    entries = dict(config.models)
    used = {entry.use or name for name, entry in entries.items()}
    for name in registry.known("models"):
        info = registry.describe("models", name)
        control = isinstance(info, ModelInfo) and info.role.endswith("_control")
        if control and name not in used and name not in entries:
            entries[name] = configuration.ModelEntry(use=name)
    return [
        Model(
            name=name,
            use=entry.use or name,
            info=_model_info(entry.use or name),
            params=entry.params,
            grid=grid_points(entry.grid, entry.params),
            n_latents=entry.n_latents,
            members_per_job=entry.members_per_job or config.members_per_job,
            datasets=None if entry.datasets is None else tuple(entry.datasets),
        )
        for name, entry in entries.items()
    ]


def _model_info(use: str) -> ModelInfo:
    info = registry.describe("models", use)
    assert isinstance(info, ModelInfo)
    return info
