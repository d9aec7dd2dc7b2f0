"""From a checked configuration to the jobs of a benchmark: pure functions, used by the workflow and the stages."""

import itertools
import platform
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scident import config as configuration
from scident import registry
from scident.config import Config
from scident.info import DatasetInfo, Info, MetricInfo, ModelInfo, SimulatorInfo
from scident.io import digest_of
from scident.runs import Run, models_of


class Plan:
    """All runs of a benchmark and what each job is told."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.seeds = tuple(range(config.seeds))
        self.models = {m.name: m for m in models_of(config)}

    def replicates(self, dataset: str) -> tuple[int, ...]:
        """Return the replicates of a dataset."""
        return tuple(range(self.config.datasets[dataset].replicates or self.config.replicates))

    def has_truth(self, dataset: str) -> bool:
        """Whether a dataset comes with true latents."""
        info = self._dataset_info(dataset)
        named = bool(self.config.datasets[dataset].params.get("truth"))
        return not isinstance(info, DatasetInfo) or info.gives_truth or named

    def has_blocks(self, dataset: str) -> bool:
        """Whether a dataset's true latents have blocks."""
        info = self._dataset_info(dataset)
        return isinstance(info, SimulatorInfo) and info.gives_blocks

    def _dataset_info(self, dataset: str) -> Info:
        use = self.config.datasets[dataset].use or dataset
        return registry.describe(configuration.kind_of(self.config, "datasets", dataset), use)

    def _dataset_label(self, dataset: str, info: Info) -> str:
        """Return the label; where a local file stands for the published one, it says so."""
        local = isinstance(info, DatasetInfo) and info.files and self.config.datasets[dataset].params.get("path")
        return f"{info.label} (local file)" if local else info.label

    def run(self, dataset: str, split: str, model: str) -> Run:
        """Return one run."""
        found = self.models[model]
        return Run(dataset, split, found, self.replicates(dataset), self.seeds, self._skipped(dataset, found.info))

    def _skipped(self, dataset: str, info: ModelInfo) -> str | None:
        """Return why a model has nothing to say on a dataset under the configured metrics, if that is plain at once."""
        if info.reads_truth and not self.has_truth(dataset):
            return "no_truth"
        if info.needs_blocks and not self.has_blocks(dataset):
            return "no_blocks"
        if info.gives == ("predictions",) and not self.wants_predictions:
            return "no_prediction"
        return None

    @cached_property
    def wants_predictions(self) -> bool:
        """Whether a configured metric reads predictions; if none does, nobody is asked for any."""
        uses = {entry["use"] for entry in self._metrics.values()}
        infos = [registry.describe("metrics", use) for use in uses]
        return any(isinstance(info, MetricInfo) and "predictions" in info.needs for info in infos)

    @property
    def runs(self) -> list[Run]:
        """Every dataset × split × model that is asked for, skipped ones included."""
        names = itertools.product(self.config.datasets, self.config.splits, self.models)
        runs = [self.run(*name) for name in names]
        return [run for run in runs if run.model.datasets is None or run.dataset in run.model.datasets]

    def spec(
        self, stage: str, dataset: str, split: str = "", model: str = "", shard: str = "0", **_: str
    ) -> dict[str, Any]:
        """Tell a job what to do, given its stage and the workflow's wildcards."""
        if stage == "data":
            return self.data_spec(dataset)
        if stage == "split":
            return self.split_spec(dataset, split)
        if stage == "score":
            return self.score_spec(dataset, split, model)
        return self.model_spec(dataset, split, model, int(shard), stage)

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
            "plugins": self._plugins(use),
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
            "prepare": self.config.datasets[dataset].prepare.model_dump(exclude_defaults=True),
            "replicates": list(self.replicates(dataset)),
            "plugins": self._plugins(use),
            "hash_code": registry.code_digest("splits", use, "split"),
        }

    def model_spec(self, dataset: str, split: str, model: str, shard: int, stage: str) -> dict[str, Any]:
        """Tell the train or infer stage of one shard what to do."""
        run = self.run(dataset, split, model)
        points = list(run.model.grid)
        entry = self.config.datasets[dataset]
        world = [entry.use or dataset] if run.model.info.reads_truth else []  # an oracle asks p(x|z)
        more: dict[str, Any] = {"selection": self.config.selection}
        if stage != "train":
            predict = self.wants_predictions and "predictions" in run.model.info.gives
            more = {"iwelbo_samples": self.iwelbo_samples, "predict": predict}
        return {
            "dataset": dataset,
            "split": split,
            "model": model,
            "use": run.model.use,
            "grid": run.model.grid,
            "n_latents": run.model.n_latents or self.n_latents(dataset),
            "members": [[r, points.index(g), s] for r, g, s in run.shards[shard]],
            "seeds": list(run.seeds),
            "plugins": self._plugins(run.model.use, *world),
            "hash_code": registry.code_digest("models", run.model.use, stage),
            "published": self.config.splits[split].protocol == "released",
            **more,
        }

    @cached_property
    def iwelbo_samples(self) -> int:
        """Return from how many samples importance-weighted bounds are computed; 0: no metric asks for one."""
        asked = [entry["params"] for entry in self._metrics.values() if entry["use"] == "iwelbo"]
        return max((registry.load("metrics", "iwelbo").Params(**params).samples for params in asked), default=0)

    def n_latents(self, dataset: str) -> int:
        """Return the number of latents of a dataset."""
        return self.config.datasets[dataset].n_latents or self.config.n_latents

    def score_spec(self, dataset: str, split: str, model: str) -> dict[str, Any]:
        """Tell the score stage of one run what to do."""
        run = self.run(dataset, split, model)
        model_code = registry.code_digest("models", run.model.use, "infer")
        cut = self.split_spec(dataset, split)
        fitted = [self.data_spec(dataset), cut["use"], cut["protocol"], cut["params"], cut["prepare"], run.model.grid]
        fitted += [self.config.selection] if len(run.model.grid) > 1 else []
        return {
            "dataset": dataset,
            "split": split,
            "model": model,
            "protocol": cut["protocol"],
            "replicates": list(run.replicates),
            "seeds": list(run.seeds),
            "grid_points": list(run.model.grid),
            "shards": len(run.shards),
            "metrics": self._metrics,
            "plugins": self._plugins(*(metric["use"] for metric in self._metrics.values())),
            "stochastic": run.model.info.stochastic,
            "label_conditioned": run.model.info.label_conditioned,
            "adapts": run.model.info.adapts,
            "hash_config": digest_of([fitted, run.model.n_latents or self.n_latents(dataset), self._metrics]),
            "hash_code": digest_of([model_code, self._metrics]),
        }

    @cached_property
    def _metrics(self) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "use": entry.use or name,
                "params": entry.params,
                "hash_code": registry.code_digest("metrics", entry.use or name, "score"),
            }
            for name, entry in self.config.metrics.items()
        }

    def _plugins(self, *uses: str) -> list[str]:
        """Return the configured files of these plug-ins: a job that knew them all would re-run with each new one."""
        return [path for path in self.config.plugins if Path(path).stem in uses]

    def describe(self) -> dict[str, Any]:
        """Return everything the aggregate and report stages need to know, as JSON can hold it."""
        datasets = {}
        for name in self.config.datasets:
            info = self._dataset_info(name)
            known = {"has_truth": self.has_truth(name), "has_blocks": self.has_blocks(name)}
            datasets[name] = {"label": self._dataset_label(name, info), "source": info.source, **known}
        splits = {
            name: {"label": registry.describe("splits", entry.use or name).label, "protocol": entry.protocol}
            for name, entry in self.config.splits.items()
        }
        models = {m.name: asdict(m.info) | {"use": m.use, "grid_points": list(m.grid)} for m in self.models.values()}
        metrics = {
            name: asdict(registry.describe("metrics", entry.use or name)) | {"use": entry.use or name}
            for name, entry in self.config.metrics.items()
        }
        for entries in (datasets, splits, models, metrics):
            _tell_apart(entries)
        return {
            "config": self.config.model_dump(mode="json", exclude={"scales"}),
            "versions": versions(),
            "datasets": datasets,
            "splits": splits,
            "models": models,
            "metrics": metrics,
            "runs": [self._described(run) for run in self.runs],
        }

    def _described(self, run: Run) -> dict[str, Any]:
        hashes = {} if run.skipped else self.score_spec(run.dataset, run.split, run.model.name)
        return {
            "dataset": run.dataset,
            "split": run.split,
            "model": run.model.name,
            "replicates": list(run.replicates),
            "seeds": list(run.seeds),
            "grid_points": list(run.model.grid),
            "shards": len(run.shards),
            "skipped": run.skipped,
            **{name: hashes.get(name, "") for name in ("hash_config", "hash_code")},
        }


def _tell_apart(entries: dict[str, dict[str, Any]]) -> None:
    """Add the entry's name to labels that several entries share."""
    counts = Counter(entry["label"] for entry in entries.values())
    for name, entry in entries.items():
        if counts[entry["label"]] > 1:
            entry["label"] = f"{entry['label']} ({name})"


def versions() -> dict[str, str]:
    """Return the versions of the packages numbers depend on, as far as they are installed here."""
    packages = ("scident", "torch", "numpy", "scipy", "scikit-learn", "pandas", "anndata", "snakemake")
    found = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
