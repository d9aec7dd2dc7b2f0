"""One miniature benchmark, run once and looked at by many tests; none of them may change it."""

from pathlib import Path

import pytest
from _snakemake import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    done = Checkout(tmp_path_factory.mktemp("finished"))
    done.printed = done.snakemake("--configfile", "config/smoke.yaml")  # type: ignore[attr-defined]
    return done
