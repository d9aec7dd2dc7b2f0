"""The same configuration gives the same numbers, and an extended benchmark trains only what is new."""

from pathlib import Path

import pandas as pd
import pytest
from _snakemake import Checkout, entry

pytestmark = pytest.mark.slow

TRAINED = {"models": {"svae-plus": {"use": "svae_plus", "epochs": 3, "width": 16}}, "seeds": 2}


def scores(checkout: Checkout) -> pd.DataFrame:
    return pd.read_parquet(checkout.folder / "results/aggregate/scores.parquet")


def test_same_config_gives_the_same_numbers_to_the_bit(tmp_path: Path) -> None:
    tables = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        checkout = Checkout(tmp_path / name)
        checkout.snakemake("--configfile", checkout.config(entry(**TRAINED)))
        tables.append(scores(checkout))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_added_replicate_trains_only_what_is_new(checkout: Checkout) -> None:
    checkout.snakemake("--configfile", checkout.config(entry(**TRAINED)))
    before = scores(checkout)
    kept = {p: p.stat().st_mtime_ns for p in (checkout.folder / "results/checkpoints").rglob("svae-plus/*.pt")}
    assert len(kept) == 2
    checkout.snakemake("--configfile", checkout.config(entry(replicates=2, **TRAINED)))
    now = {p: p.stat().st_mtime_ns for p in (checkout.folder / "results/checkpoints").rglob("svae-plus/*.pt")}
    assert len(now) == 4
    assert kept.items() <= now.items(), "a finished member was trained again"
    after = scores(checkout).query("replicate == 0").reset_index(drop=True)
    hashes = [c for c in before if c.startswith("hash")]
    pd.testing.assert_frame_equal(before.drop(columns=hashes), after.drop(columns=hashes), check_exact=True)


def test_shards_do_not_change_results(tmp_path: Path) -> None:
    tables = []
    for name, size in (("together", None), ("apart", 1)):
        (tmp_path / name).mkdir()
        checkout = Checkout(tmp_path / name)
        checkout.snakemake("--configfile", checkout.config(entry(members_per_job=size, **TRAINED)))
        tables.append(scores(checkout).query("model == 'svae-plus'").reset_index(drop=True))
    together, apart = tables
    # float32: the order of additions inside a batched product may differ between one and two members
    pd.testing.assert_series_equal(together["value"], apart["value"], rtol=1e-3, atol=1e-4)
