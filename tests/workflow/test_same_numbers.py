"""The same configuration gives the same numbers, and an extended benchmark trains only what is new."""

from pathlib import Path

import pandas as pd
import pytest
from _snakemake import Checkout, entry

pytestmark = pytest.mark.slow

TRAINED = {"models": {"svae-plus": {"use": "svae_plus", "epochs": 3, "width": 16}}, "seeds": 2}


def scores(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results/aggregate/scores.parquet")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A finished benchmark with one trained model; tests look at it or work on a copy."""
    checkout = Checkout(tmp_path_factory.mktemp("trained"))
    checkout.snakemake("--configfile", checkout.config(entry(**TRAINED)))
    return checkout


def test_same_config_gives_the_same_numbers_to_the_bit(trained: Checkout, checkout: Checkout) -> None:
    checkout.snakemake("--configfile", checkout.config(entry(**TRAINED)))
    pd.testing.assert_frame_equal(scores(trained.folder), scores(checkout.folder), check_exact=True)


def test_shards_do_not_change_results(trained: Checkout, checkout: Checkout) -> None:
    checkout.snakemake("--configfile", checkout.config(entry(members_per_job=1, **TRAINED)))
    together, apart = (
        scores(folder).query("model == 'svae-plus'").reset_index(drop=True)
        for folder in (trained.folder, checkout.folder)
    )
    # float32: one member and two members go through different matrix kernels, which round differently
    pd.testing.assert_series_equal(together["value"], apart["value"], rtol=1e-3, atol=1e-4)


def test_added_replicate_trains_only_what_is_new(trained: Checkout, tmp_path: Path) -> None:
    checkout = Checkout.copy_of(trained, tmp_path / "extended")
    stored = checkout.folder / "results/checkpoints"
    kept = {p: p.stat().st_mtime_ns for p in stored.rglob("svae-plus/*.pt")}
    assert len(kept) == 2 * 2  # two seeds, trained twice
    checkout.snakemake("--configfile", checkout.config(entry(replicates=2, **TRAINED)))
    now = {p: p.stat().st_mtime_ns for p in stored.rglob("svae-plus/*.pt")}
    assert len(now) == 4 * 2
    assert kept.items() <= now.items(), "a finished member was trained again"
    before, after = scores(trained.folder), scores(checkout.folder).query("replicate == 0").reset_index(drop=True)
    hashes = [c for c in before if c.startswith("hash")]
    pd.testing.assert_frame_equal(before.drop(columns=hashes), after.drop(columns=hashes), check_exact=True)
