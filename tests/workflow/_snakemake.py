"""A checkout of its own for each test, and snakemake in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "workflow", "config", "profiles", "envs", "src", "pyproject.toml")


class Checkout:
    """A copy of what a user would have cloned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            source = ROOT / part
            ignore = shutil.ignore_patterns("__pycache__")
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / part, **({"ignore": ignore} if source.is_dir() else {}))

    @classmethod
    def copy_of(cls, other: "Checkout", folder: Path) -> "Checkout":
        """Copy a checkout with its results; times of files are kept, so that nothing looks new."""
        copied = cls.__new__(cls)
        copied.folder = folder
        shutil.copytree(other.folder, folder)
        return copied

    def config(self, content: Mapping[str, Any], name: str = "config/test.yaml") -> str:
        """Write a configuration and return its path."""
        (self.folder / name).write_text(yaml.safe_dump(dict(content), sort_keys=False))
        return name

    def snakemake(self, *arguments: str, fails: bool = False) -> str:
        """Run snakemake with two cores and return what it printed."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        printed = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, printed[-6000:]
        return printed

    def python(self, *arguments: str) -> str:
        """Run Python on this checkout's sources, with what tests share at hand, and return what it wrote to stdout."""
        paths = os.pathsep.join([str(self.folder / "src"), str(ROOT / "tests")])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-6000:]
        return done.stdout

    def in_process(self, config: str, results: Path) -> None:
        """Run a configuration in one process, which takes a tenth of what its jobs take."""
        self.python("-m", "_in_process", config, str(results))

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs of each rule a dry run announces."""
        printed = self.snakemake("--dry-run", *arguments)
        if "Nothing to be done" in printed:
            return {}
        table = printed.rsplit("Job stats:", 1)[1].splitlines()[3:]
        rows = [line.split() for line in table]
        stop = next(i for i, row in enumerate(rows) if len(row) != 2)
        counts = {rule: int(count) for rule, count in rows[:stop]}
        assert counts.pop("total") == sum(counts.values())
        return counts


def entry(**changes: Any) -> dict[str, Any]:
    """Return the smallest benchmark that has every stage: a tiny world, no trained network, two metrics."""
    return {
        "replicates": 1,
        "seeds": 1,
        "datasets": {
            "tiny": {
                "use": "sparse_shift",
                "variant": "corrected",
                "n_perturbations": 10,
                "cells_per_perturbation": 80,
                "n_genes": 40,
                "n_latents": 3,
            }
        },
        "splits": {"unseen-perturbation": {"use": "unseen_perturbation", "last_n": 2}},
        "models": {"pca": None},
        "metrics": {"mcc_pearson": None, "r2_linear": None},
        **changes,
    }
