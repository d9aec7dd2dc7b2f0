"""The same configuration gives the same numbers, and an extended benchmark trains only what is new."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from _snakemake import Checkout, entry

import _in_process

pytestmark = pytest.mark.slow

SMOKE = "config/smoke.yaml"
SVAE = "score/tiny/unseen-perturbation/svae-plus.parquet"
ORDER = ["model", "replicate", "grid_point", "scope", "metric", "variant", "seed", "perturbation"]


def scores(results: Path) -> pd.DataFrame:
    return pd.read_parquet(results / "aggregate/scores.parquet")


def test_jobs_and_one_process_give_the_same_numbers_to_the_bit(finished: Checkout, tmp_path: Path) -> None:
    finished.in_process(SMOKE, tmp_path)
    pd.testing.assert_frame_equal(scores(finished.folder / "results"), scores(tmp_path), check_exact=True)


def test_shards_do_not_change_results(tmp_path: Path) -> None:
    trained: dict[str, Any] = {"models": {"svae-plus": {"use": "svae_plus", "epochs": 3, "width": 16}}, "seeds": 2}
    found = []
    for name, shards in (("together", {}), ("apart", {"members_per_job": 1})):
        plan = _in_process.scored(entry(**trained, **shards), tmp_path / name, ["svae-plus"])
        assert len(plan.run("tiny", "unseen-perturbation", "svae-plus").shards) == (2 if shards else 1)
        found.append(pd.read_parquet(tmp_path / name / SVAE))
    together, apart = found
    # float32: one member and two members go through different matrix kernels, which round differently
    pd.testing.assert_series_equal(together["value"], apart["value"], rtol=1e-3, atol=1e-4)


def test_added_replicate_trains_only_what_is_new(finished: Checkout, tmp_path: Path) -> None:
    checkout = Checkout.copy_of(finished, tmp_path / "extended")
    stored = checkout.folder / "results/checkpoints"
    kept = {p: p.stat().st_mtime_ns for p in stored.rglob("svae-plus/*.pt")}
    content = yaml.safe_load((checkout.folder / SMOKE).read_text()) | {"replicates": 3, "members_per_job": 6}
    checkout.snakemake(f"results/{SVAE}", "--configfile", checkout.config(content))
    now = {p: p.stat().st_mtime_ns for p in stored.rglob("svae-plus/*.pt")}
    assert (len(kept), len(now)) == (2 * 6, 3 * 6)  # two grid points of two seeds, and the chosen one trained again
    assert kept.items() <= now.items(), "a finished member was trained again"

    before = scores(finished.folder / "results")
    others = set(before["model"]) - {"svae-plus"}
    runs = _in_process.scored(content, tmp_path / "others", others).runs
    found = {run.model.name: tmp_path / "others" for run in runs if not run.skipped}
    found["svae-plus"] = checkout.folder / "results"
    files = [(results / SVAE).with_name(f"{model}.parquet") for model, results in found.items()]
    after = pd.concat([pd.read_parquet(path) for path in files]).query("replicate < 2")
    before = before[before["model"].isin(list(found))]
    hashes = [c for c in before if c.startswith("hash")]
    one, other = (table.drop(columns=hashes).sort_values(ORDER, ignore_index=True) for table in (before, after))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
