"""Failure is a row: the benchmark goes on, the report shows the gap, retry runs exactly what failed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from _snakemake import Checkout

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


ONCE = 'first = not os.path.exists("flag"); open("flag", "w").close(); os.kill(os.getpid(), 9 * first)'
SMOKE = "config/smoke.yaml"


@pytest.fixture
def extended(finished: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the finished benchmark, so that only what a test adds to it has jobs."""
    return Checkout.copy_of(finished, tmp_path / "extended")


def smoke(checkout: Checkout) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((checkout.folder / SMOKE).read_text())
    return content


def failing(checkout: Checkout) -> dict[str, Any]:
    plugins = [
        plugin(checkout, "raises", fit='raise ValueError("no luck")'),
        plugin(checkout, "killed", fit="os.kill(os.getpid(), 9)"),
        plugin(checkout, "naughty", embed="z[3, 1] = np.nan"),
        plugin(checkout, "once", fit=ONCE),
    ]
    content = smoke(checkout)
    content["models"] |= {name.removesuffix(".py"): None for name in plugins}
    return content | {"plugins": plugins}


def test_failures_become_rows_and_the_benchmark_goes_on(extended: Checkout) -> None:
    config = extended.config(failing(extended))
    extended.snakemake("--configfile", config)
    assert set(rows(extended, "pca")["status"]) == {"ok"}
    assert set(rows(extended, "once")["status"]) == {"ok"}, "a killed job is tried again"
    assert (extended.folder / "flag").exists()
    for model, reason in [
        ("raises", "exception: ValueError: no luck"),
        ("killed", "killed"),
        ("naughty", "nonfinite_latents"),
    ]:
        found = rows(extended, model)
        assert set(found["status"]) == {"failed"}
        assert set(found["reason"]) == {reason}
        assert found["value"].isna().all()
    page = (extended.folder / "results/report/index.html").read_text()
    assert "no luck" in page
    assert "nonfinite_latents" in page

    listed = [sys.executable, "-m", "scident", "list", "failed"]
    failed = subprocess.run(listed, cwd=extended.folder, capture_output=True, text=True, check=True).stdout.split()
    assert any("train/tiny/unseen-perturbation/raises" in path for path in failed)
    assert not any("pca" in path for path in failed)
    plugin(extended, "raises")
    extended.snakemake("--configfile", config, "--forcerun", *failed)
    assert set(rows(extended, "raises")["status"]) == {"ok"}


def test_incomplete_benchmark_still_reports(extended: Checkout) -> None:
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
    (extended.folder / "gone.py").write_text(dataset)
    content = smoke(extended) | {"plugins": ["gone.py"]}
    content["datasets"]["gone"] = {}
    printed = extended.snakemake("--configfile", extended.config(content), fails=True)
    page = extended.folder / "results/incomplete/report/index.html"
    assert f"The report is {page}" in printed
    assert "killed" in page.read_text()
    table = pd.read_parquet(extended.folder / "results/incomplete/aggregate/scores.parquet")
    assert set(table.query("dataset == 'gone'")["status"]) == {"failed", "not_applicable"}
    assert "ok" in set(table.query("dataset == 'tiny'")["status"])
