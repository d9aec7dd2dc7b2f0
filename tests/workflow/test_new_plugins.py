"""In a fresh checkout, a new plug-in of each kind meets the contract tests and the linter without another edit."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scident.scaffold import KINDS

ROOT = Path(__file__).parents[2]


def call(checkout, *command):
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    return subprocess.run(command, cwd=checkout, env=environment, check=False, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path):
    ignore = shutil.ignore_patterns("__pycache__", "workflow", "unit", "statistical")
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_new_plugins_meet_the_contract_tests_of_their_checkout(checkout):
    written = []
    for kind, folder in KINDS.items():
        name = f"fresh_{kind}"
        made = call(checkout, sys.executable, "-m", "scident", "new", kind, name)
        assert made.returncode == 0, made.stderr
        written.append(f"src/scident/{folder}/{name}.py")
    assert all((checkout / path).is_file() for path in written)
    tested = call(
        checkout, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract", "-k", "fresh"
    )
    assert tested.returncode == 0, tested.stdout[-3000:]
    counted = call(checkout, sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/contract", "-k", "fresh")
    assert all(f"fresh_{kind}" in counted.stdout for kind in KINDS)
    linted = call(checkout, sys.executable, "-m", "ruff", "check", *written)
    assert linted.returncode == 0, linted.stdout
