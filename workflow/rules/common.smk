"""Functions only: check the configuration, list targets, look up what a job is told."""

import json
import os
import sys
from pathlib import Path

SOURCE = Path(workflow.basedir) / "src"
sys.path.insert(0, str(SOURCE))
for variable, first in [("PYTHONPATH", SOURCE), ("PATH", Path(sys.executable).parent)]:
    # jobs run this checkout's code, with this interpreter unless conda puts its own before it
    os.environ[variable] = os.pathsep.join(
        [str(first), *filter(None, [os.environ.get(variable)])]
    )

from scident import config as configuration
from scident.errors import ScidentError
from scident.plan import Plan

try:
    PLAN = Plan(configuration.load(config, deep=workflow.is_main_process))
except ScidentError as error:
    sys.exit(
        f"scident: {error}"
    )  # a WorkflowError would add where in this file it was raised

CONFIG_JSON = PLAN.config.model_dump_json(exclude={"scale", "scales"})


def pattern(names):
    """Return a wildcard constraint that admits these names and, if there are none, nothing."""
    return "|".join(names) or "(?!)"


def names_with_truth(wanted):
    """Return the datasets that have (or have not) true latents."""
    return [name for name in PLAN.config.datasets if PLAN.has_truth(name) == wanted]


wildcard_constraints:
    dataset=pattern(PLAN.config.datasets),
    split=pattern(PLAN.config.splits),
    model=pattern(PLAN.models),
    replicate=r"\d+",
    shard=r"\d+",


def data_files(wildcards):
    """Return the data files of all replicates, in order."""
    return expand(
        "results/data/{dataset}/r{replicate}.h5ad",
        dataset=wildcards.dataset,
        replicate=PLAN.replicates(wildcards.dataset),
    )


def source_file(wildcards):
    """Return the local file a dataset is read from, or nothing if it is simulated or downloaded."""
    return PLAN.data_spec(wildcards.dataset)["params"].get("path") or []


def truth_files(wildcards):
    """Return the truth files of all replicates, or nothing where no truth is known."""
    if not PLAN.has_truth(wildcards.dataset):
        return []
    return [f.replace(".h5ad", ".truth.h5ad") for f in data_files(wildcards)]


def truth_if_control(wildcards):
    """Return the truth files for positive controls of latents, nothing for everybody else."""
    run = PLAN.run(wildcards.dataset, wildcards.split, wildcards.model)
    return truth_files(wildcards) if run.model.info.reads_truth else []


def infer_folders(wildcards):
    """Return the infer folders of all shards of a run."""
    run = PLAN.run(wildcards.dataset, wildcards.split, wildcards.model)
    return expand(
        "results/infer/{dataset}/{split}/{model}/s{shard}",
        **wildcards,
        shard=range(len(run.shards)),
    )


def folder_of_status(wildcards, output):
    """Return the folder a train job writes."""
    return str(Path(output.status).parent)


def folder_trained(wildcards, input):
    """Return the folder an infer job reads its members from."""
    return str(Path(input.status).parent)


def folder_of_shards(wildcards, input):
    """Return the folder that holds the infer folders of all shards."""
    return str(Path(input.infer[0]).parent)


def score_files(wildcards):
    """Return the score tables of all runs that have jobs."""
    return [
        f"results/score/{r.dataset}/{r.split}/{r.model.name}.parquet"
        for r in PLAN.runs
        if not r.skipped
    ]


def told(stage):
    """Return a params function: what a job of this stage is told, as compact JSON."""

    def spec(wildcards):
        return json.dumps(PLAN.spec(stage, **wildcards), separators=(",", ":"))

    return spec
