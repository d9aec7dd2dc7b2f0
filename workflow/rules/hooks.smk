"""Functions only: what is said and written when a run ends."""

import shutil
import subprocess


def announce(path):
    """Say where the report is, last."""
    print(f"\nThe report is {Path(path).resolve()}\n", file=sys.stderr)


def finish():
    """Drop what an incomplete run left and say where the report is, if there is one."""
    shutil.rmtree("results/incomplete", ignore_errors=True)
    if Path("results/report/index.html").is_file():
        announce("results/report/index.html")


def report_what_there_is():
    """Report an incomplete benchmark beside the real one's place: what is missing stands in it as failed."""
    tables, out = "results/incomplete/aggregate", "results/incomplete/report"
    stages = [
        ["aggregate", "--results", "results", "--out", tables],
        ["report", "--aggregate", tables, "--out", out],
    ]
    for stage, *options in stages:
        command = [sys.executable, "-m", "scident", stage, "--config", CONFIG_JSON]
        if subprocess.run([*command, *options]).returncode:
            return
    announce(f"{out}/index.html")
