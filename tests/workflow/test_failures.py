"""Failure is a row: the benchmark goes on, the report shows the gap, retry runs exactly what failed."""

import subprocess
import sys

import pandas as pd
import pytest
from _snakemake import Checkout, entry

pytestmark = pytest.mark.slow

MODEL = '''
"""A model for tests."""
import os
import numpy as np
from scident.info import ModelInfo
from scident.models.base import Model
from scident.params import PluginParams
info = ModelInfo(label="{name}", source="test", role="method", gives=("latents",), light=True)
class Params(PluginParams):
    """None."""
class Foo(Model):
    """Foo."""
    def fit(self, train, val, rng):
        {fit}
        self.state = {{"a": np.zeros(1)}}
    def embed(self, cells):
        z = np.asarray(cells.X[:, : self.n_latents], dtype=float)
        {embed}
        return z
'''


def plugin(checkout: Checkout, name: str, fit: str = "pass", embed: str = "pass") -> str:
    path = checkout.folder / f"{name}.py"
    path.write_text(MODEL.format(name=name, fit=fit, embed=embed))
    return path.name


def rows(checkout: Checkout, model: str) -> pd.DataFrame:
    table = pd.read_parquet(checkout.folder / "results/aggregate/scores.parquet")
    return table[(table["model"] == model) & (table["metric"] == "mcc_pearson")]


def failing(checkout: Checkout) -> dict[str, object]:
    plugins = [
        plugin(checkout, "raises", fit='raise ValueError("no luck")'),
        plugin(checkout, "killed", fit="os.kill(os.getpid(), 9)"),
        plugin(checkout, "naughty", embed="z[3, 1] = np.nan"),
        plugin(checkout, "half", fit='if rng.bit_generator.seed_seq.entropy[0] % 2: raise ValueError("odd")'),
    ]
    models = {name.removesuffix(".py"): None for name in plugins}
    return entry(plugins=plugins, models={"pca": None, **models}, seeds=2)


def test_failures_become_rows_and_the_benchmark_goes_on(checkout: Checkout) -> None:
    config = checkout.config(failing(checkout))
    checkout.snakemake("--configfile", config)
    assert set(rows(checkout, "pca")["status"]) == {"ok"}
    for model, reason in [
        ("raises", "exception: ValueError: no luck"),
        ("killed", "killed"),
        ("naughty", "nonfinite_latents"),
    ]:
        found = rows(checkout, model)
        assert set(found["status"]) == {"failed"}
        assert set(found["reason"]) == {reason}
        assert found["value"].isna().all()
    page = (checkout.folder / "results/report/index.html").read_text()
    assert "no luck" in page
    assert "nonfinite_latents" in page

    listed = [sys.executable, "-m", "scident", "list", "failed"]
    failed = subprocess.run(listed, cwd=checkout.folder, capture_output=True, text=True, check=True).stdout.split()
    assert any("train/tiny/unseen-perturbation/raises" in path for path in failed)
    assert not any("pca" in path for path in failed)
    plugin(checkout, "raises")
    checkout.snakemake("--configfile", config, "--forcerun", *failed)
    assert set(rows(checkout, "raises")["status"]) == {"ok"}


def test_killed_jobs_are_tried_again(checkout: Checkout) -> None:
    once = 'first = not os.path.exists("flag"); open("flag", "w").close(); os.kill(os.getpid(), 9 * first)'
    config = checkout.config(entry(plugins=[plugin(checkout, "once", fit=once)], models={"once": None}))
    checkout.snakemake("--configfile", config)
    assert set(rows(checkout, "once")["status"]) == {"ok"}


def test_incomplete_benchmark_still_reports(checkout: Checkout) -> None:
    dataset = '''
"""A dataset for tests."""
from scident.errors import DataError
from scident.info import DatasetInfo
from scident.params import PluginParams
info = DatasetInfo(label="gone", source="test")
class Params(PluginParams):
    """None."""
def load(params, cache):
    """Fail."""
    raise DataError("gone: the file is not there; fetch it")
'''
    (checkout.folder / "gone.py").write_text(dataset)
    content = entry(plugins=["gone.py"])
    content["datasets"]["gone"] = {}
    printed = checkout.snakemake("--configfile", checkout.config(content), fails=True)
    page = checkout.folder / "results/incomplete/report/index.html"
    assert f"The report is {page}" in printed
    assert "killed" in page.read_text()
