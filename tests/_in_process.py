"""A benchmark in one process: every stage of every run in the order of the flow, without a job's seconds of imports.

A stage that fails raises, where a job would write failed rows. As a command it runs in a process of its own, with the
sources that the environment names: ``python -m _in_process <configuration.yaml> <results>``.
"""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from scident import config as configuration
from scident.plan import Plan
from scident.runs import Run
from scident.stages import aggregate, data, infer, report, score, split, train


def run(content: Mapping[str, Any], results: Path) -> None:
    """Run a configuration into a folder of results."""
    plan = scored(content, results)
    aggregate.run(plan.describe(), results, results / "aggregate")
    report.run(plan.describe(), results / "aggregate", results / "report")


def scored(content: Mapping[str, Any], results: Path, models: Collection[str] | None = None) -> Plan:
    """Run its stages data to score, for all models or some."""
    plan = cut(content, results)
    for one in plan.runs:
        if not one.skipped and (models is None or one.model.name in models):
            _run(plan, one, results)
    return plan


def cut(content: Mapping[str, Any], results: Path) -> Plan:
    """Run its stages data and split alone."""
    plan = Plan(configuration.load(content))
    for name in plan.config.datasets:
        for replicate, path in zip(plan.replicates(name), _data(plan, results, name), strict=True):
            truth = _truth(path) if plan.has_truth(name) else None
            data.run(plan.data_spec(name), replicate, path, truth, results / "cache")
        for one in plan.config.splits:
            to = results / "split" / name / one
            files = to / "parts.parquet", to / "train.h5ad", to / "parts.sha256"
            split.run(plan.split_spec(name, one), _data(plan, results, name), *files)
    return plan


def _data(plan: Plan, results: Path, name: str) -> list[Path]:
    return [results / "data" / name / f"r{replicate}.h5ad" for replicate in plan.replicates(name)]


def _truth(data: Path) -> Path:
    return data.with_suffix(".truth.h5ad")


def _run(plan: Plan, one: Run, results: Path) -> None:
    names = one.dataset, one.split, one.model.name
    files, parts = _data(plan, results, one.dataset), results / "split" / one.dataset / one.split
    truths = [_truth(path) for path in files if plan.has_truth(one.dataset)]
    shards = []
    for shard in range(len(one.shards)):
        trained, said = (results.joinpath(stage, *names, f"s{shard}") for stage in ("train", "infer"))
        train.run(plan.model_spec(*names, shard, "train"), parts / "train.h5ad", trained, None)
        known = truths if one.model.info.reads_truth else []
        infer.run(plan.model_spec(*names, shard, "infer"), trained, files, known, parts / "parts.parquet", said)
        shards.append(said)
    scores = results / "score" / one.dataset / one.split
    tables = (scores / f"{one.model.name}{end}" for end in (".parquet", ".aligned.parquet"))
    score.run(plan.score_spec(*names), shards, files, truths, parts / "parts.parquet", *tables)


if __name__ == "__main__":
    run(yaml.safe_load(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
