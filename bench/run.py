"""What a finished run of the default benchmark cost: processor time beside the work itself, and memory."""

import subprocess
import sys
from pathlib import Path

import pandas as pd

from bench.table import Row

RESULTS, BENCHMARKS = Path("results"), Path("benchmarks")
SCORE = "import scident.stages.score"


def rows() -> list[Row]:
    """Read the workflow's account of every job, and each training and inference job's own account of its work.

    A scoring job keeps no account of its own: all of it is scoring but the import of its code.
    """
    costs = RESULTS / "aggregate" / "costs.parquet"
    share = "CPU time of a run's jobs not spent training or scoring"
    memory = "peak memory of any job"
    if not costs.is_file() or not BENCHMARKS.is_dir():
        missing = "not measured: no finished run"
        return [
            Row(share, "all CPU time", "–", "≤ 35%", "20%", None, missing),
            Row(memory, "", "–", "≤ 1.5 GB", "1 GB", None, missing),
        ]
    jobs = pd.concat([pd.read_csv(path, sep="\t", na_values="-") for path in BENCHMARKS.rglob("*.tsv")])
    table = pd.read_parquet(costs)
    work = table.loc[table["stage"].isin(["train", "infer"]), "cpu_s"].sum()
    scored = table[table["stage"] == "score"]
    work += scored["cpu_s"].sum() - len(scored) * _start_up()
    rest = 1 - work / jobs["cpu_time"].sum()
    peak = table["peak_rss_mb"].max() / 1e3
    return [
        Row(share, "all CPU time", f"{rest:.0%}", "≤ 35%", "20%", bool(rest <= 0.35), f"{len(jobs)} jobs"),
        Row(memory, "", f"{peak:.2f} GB", "≤ 1.5 GB", "1 GB", bool(peak <= 1.5)),
    ]


def _start_up() -> float:
    """Return the CPU seconds of a process that imports what a scoring job needs."""
    code = f"{SCORE}, time; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)
