"""From a checked configuration to the jobs of a benchmark: pure functions, used by the workflow and the stages."""

import itertools
from dataclasses import asdict, dataclass
from typing import Any

from scident import config as configuration
from scident import registry
from scident.config import Config
from scident.info import MetricInfo, ModelInfo
from scident.io import digest_of


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
    """Why no job exists (no_truth), or None."""

    @property
    def members(self) -> list[tuple[int, str, int]]:
        """(replicate, grid point, seed) of everything that is fitted, replicate by replicate."""
        seeds = self.seeds if self.model.info.stochastic else self.seeds[:1]
        return list(itertools.product(self.replicates, self.model.grid, seeds))

    @property
    def shards(self) -> list[list[tuple[int, str, int]]]:
        """The members cut into jobs."""
        size = len(self.members) if self.model.info.light else (self.model.members_per_job or len(self.members))
        return [self.members[i : i + size] for i in range(0, len(self.members), size)]


class Plan:
    """All runs of a benchmark and what each job is told."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.replicates = tuple(range(config.replicates))
        self.seeds = tuple(range(config.seeds))
        self.models = {m.name: m for m in _models(config)}

    def has_truth(self, dataset: str) -> bool:
        """Whether a dataset comes with true latents."""
        entry = self.config.datasets[dataset]
        return configuration.kind_of(self.config, "datasets", dataset) == "simulators" or bool(
            entry.params.get("truth")
        )

    def run(self, dataset: str, split: str, model: str) -> Run:
        """Return one run."""
        found = self.models[model]
        blind = found.info.role == "positive_control" and not self.has_truth(dataset)
        skipped = "no_truth" if blind else None
        return Run(dataset, split, found, self.replicates, self.seeds, skipped)

    @property
    def runs(self) -> list[Run]:
        """Every dataset × split × model, skipped ones included."""
        names = itertools.product(self.config.datasets, self.config.splits, self.models)
        return [self.run(*name) for name in names]

    def data_spec(self, dataset: str) -> dict[str, Any]:
        """Tell the data stage what to do."""
        kind = configuration.kind_of(self.config, "datasets", dataset)
        use = self.config.datasets[dataset].use or dataset
        params = configuration.resolved_params(self.config, "datasets", dataset)
        return {
            "name": dataset,
            "kind": kind,
            "use": use,
            "params": params,
            "plugins": self.config.plugins,
            "hash_code": registry.code_digest(kind, use, "data"),
        }

    def split_spec(self, dataset: str, split: str) -> dict[str, Any]:
        """Tell the split stage what to do."""
        entry = self.config.splits[split]
        use = entry.use or split
        return {
            "dataset": dataset,
            "name": split,
            "use": use,
            "protocol": entry.protocol,
            "params": entry.params,
            "replicates": list(self.replicates),
            "plugins": self.config.plugins,
            "hash_code": registry.code_digest("splits", use, "split"),
        }

    def model_spec(self, dataset: str, split: str, model: str, shard: int, stage: str) -> dict[str, Any]:
        """Tell the train or infer stage of one shard what to do."""
        run = self.run(dataset, split, model)
        points = list(run.model.grid)
        return {
            "dataset": dataset,
            "split": split,
            "model": model,
            "use": run.model.use,
            "grid": run.model.grid,
            "n_latents": run.model.n_latents or self.n_latents(dataset),
            "members": [[r, points.index(g), s] for r, g, s in run.shards[shard]],
            "seeds": list(run.seeds),
            "shard": shard,
            "plugins": self.config.plugins,
            "hash_code": registry.code_digest("models", run.model.use, stage),
        }

    def n_latents(self, dataset: str) -> int:
        """Return the number of latents of a dataset."""
        return self.config.datasets[dataset].n_latents or self.config.n_latents

    def score_spec(self, dataset: str, split: str, model: str) -> dict[str, Any]:
        """Tell the score stage of one run what to do."""
        run = self.run(dataset, split, model)
        metrics = {
            name: {
                "use": entry.use or name,
                "params": entry.params,
                "hash_code": registry.code_digest("metrics", entry.use or name, "score"),
            }
            for name, entry in self.config.metrics.items()
        }
        model_spec = self.model_spec(dataset, split, model, 0, "infer")
        fitted = [self.data_spec(dataset), self.split_spec(dataset, split)["params"], run.model.grid]
        return {
            "dataset": dataset,
            "split": split,
            "model": model,
            "protocol": self.config.splits[split].protocol,
            "replicates": list(run.replicates),
            "seeds": list(run.seeds),
            "grid_points": list(run.model.grid),
            "metrics": metrics,
            "n_latents": model_spec["n_latents"],
            "plugins": self.config.plugins,
            "stochastic": run.model.info.stochastic,
            "label_conditioned": run.model.info.label_conditioned,
            "hash_config": digest_of([fitted, metrics]),
            "hash_code": digest_of([model_spec["hash_code"], metrics]),
        }

    def describe(self) -> dict[str, Any]:
        """Return everything the aggregate and report stages need to know, as JSON can hold it."""
        datasets, splits, metrics = {}, {}, {}
        for name, entry in self.config.datasets.items():
            info = registry.describe(configuration.kind_of(self.config, "datasets", name), entry.use or name)
            datasets[name] = {"label": info.label, "source": info.source, "has_truth": self.has_truth(name)}
        for name, split in self.config.splits.items():
            info = registry.describe("splits", split.use or name)
            splits[name] = {"label": info.label, "protocol": split.protocol}
        for name, metric in self.config.metrics.items():
            metric_info = registry.describe("metrics", metric.use or name)
            assert isinstance(metric_info, MetricInfo)
            metrics[name] = asdict(metric_info)
        models = {
            m.name: {
                "label": m.info.label,
                "role": m.info.role,
                "use": m.use,
                "source": m.info.source,
                "grid_points": list(m.grid),
                "stochastic": m.info.stochastic,
            }
            for m in self.models.values()
        }
        runs = [
            {
                "dataset": r.dataset,
                "split": r.split,
                "model": r.model.name,
                "replicates": list(r.replicates),
                "seeds": list(r.seeds),
                "grid_points": list(r.model.grid),
                "shards": len(r.shards),
                "skipped": r.skipped,
            }
            for r in self.runs
        ]
        return {
            "config": self.config.model_dump(mode="json", exclude={"scales"}),
            "datasets": datasets,
            "splits": splits,
            "models": models,
            "metrics": metrics,
            "runs": runs,
        }


def grid_points(grid: dict[str, list[Any]], params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name every combination of a grid, as in ``penalty=100``, and give its full parameters; no grid is ``default``."""
    if not grid:
        return {"default": params}
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return {",".join(f"{k}={v}" for k, v in point.items()): params | point for point in combinations}


def _models(config: Config) -> list[Model]:
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
        )
        for name, entry in entries.items()
    ]


def _model_info(use: str) -> ModelInfo:
    info = registry.describe("models", use)
    assert isinstance(info, ModelInfo)
    return info
