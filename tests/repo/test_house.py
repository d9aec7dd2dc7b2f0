"""Do we keep our own rules?"""

import os
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from scident.config import Config

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "igraph": "python-igraph"}
TEXTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "config").glob("*.md")]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_source_file_has_two_jobs() -> None:
    long = {str(p.relative_to(ROOT)): lines(p) for p in SOURCES if lines(p) > 400}
    assert not long


def test_median_source_file_fits_a_screen() -> None:
    assert statistics.median(lines(p) for p in SOURCES) <= 120


@pytest.mark.parametrize(
    ("name", "limit"), [("Snakefile", 50), ("README.md", 120), ("config/config.yaml", 150), ("config/smoke.yaml", 50)]
)
def test_first_files_stay_short(name: str, limit: int) -> None:
    assert lines(ROOT / name) <= limit


def test_rule_files_stay_short() -> None:
    found = {p.name: lines(p) for p in (ROOT / "workflow/rules").glob("*.smk")}
    assert found.pop("common.smk") <= 120
    assert max(found.values()) <= 80


def pins(requirements: list[str]) -> dict[str, str]:
    found = [re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z]+\])?==(\S+)", line) for line in requirements]
    assert all(found), f"pin exactly: {requirements}"
    return {CONDA_NAMES.get(m[1], m[1]): m[2] for m in found if m}


@pytest.mark.parametrize("name", ["core", "torch", "report"])
def test_conda_environment_has_the_pins_of_pyproject(name: str) -> None:
    environment = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    wanted = pins(PROJECT["project"]["dependencies"])
    parts = [d.split(" ", 1) for d in environment["dependencies"]]
    assert dict(parts).pop("python") == PROJECT["project"]["requires-python"]
    for package, version in parts:
        if package != "python":
            assert version == f"=={wanted[package]}", package


def test_conda_environments_cover_what_their_stages_import() -> None:
    held = {
        n: {d.split(" ")[0] for d in yaml.safe_load((ROOT / f"envs/{n}.yaml").read_text())["dependencies"]}
        for n in ("core", "torch", "report")
    }
    assert held["torch"] - held["core"] == {"numba", "pytorch"}
    assert held["report"] - held["core"] == {"great-tables", "jinja2", "matplotlib-base", "seaborn"}
    workflow_only = {"snakemake"}
    assert set().union(*held.values()) - {"python"} == set(pins(PROJECT["project"]["dependencies"])) - workflow_only


def test_locked_requirements_agree_with_pyproject() -> None:
    listed = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]
    locked = "\n".join((ROOT / f"envs/{n}.txt").read_text() for n in ("requirements", "requirements-dev")).lower()
    missing = [r for r in listed if re.sub(r"\[[a-z]+\]", "", r).lower() not in locked.replace("_", "-").splitlines()]
    assert not missing, "run make lock"


def test_attempts_equal_the_profiles_retries_plus_one() -> None:
    for profile in ("default", "slurm"):
        content = yaml.safe_load((ROOT / f"profiles/{profile}/config.yaml").read_text())
        assert content["retries"] + 1 == Config.model_fields["attempts"].default, profile


def test_texts_name_existing_files() -> None:
    lost = [
        f"{text.relative_to(ROOT)} → {target}"
        for text in TEXTS
        for target in re.findall(r"\]\(([^)#:]+)\)", text.read_text())
        if not (text.parent / target).exists()
    ]
    assert not lost


def test_readme_commands_exist() -> None:
    from typer.main import get_command

    from scident.cli import app

    text = (ROOT / "README.md").read_text()
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"^scident (\w+)", text, re.MULTILINE)) <= commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for config in re.findall(r"--configfile (\S+)", text):
        assert (ROOT / config).is_file()


def test_decisions_are_short() -> None:
    assert not [p.name for p in (ROOT / "docs/adr").glob("*.md") if lines(p) > 40]


def test_change_fragments_have_a_known_type() -> None:
    names = [p.name for p in (ROOT / "changes").iterdir() if p.name != "README.md"]
    assert all(re.fullmatch(r"\d+\.(feat|fix|docs|break)\.md", name) for name in names)


def test_repository_names_no_private_place() -> None:
    allowed = {Path(__file__)}
    private = re.compile(r"/(work|root|tmp)/|\bpypi\.org|pythonhosted")
    found = [
        str(p.relative_to(ROOT))
        for folder in ("src", "tests", "workflow", "config", "docs", "envs", "profiles")
        for p in (ROOT / folder).rglob("*")
        if p.suffix in {".py", ".smk", ".md", ".yaml", ".txt", ".sh", ".rst"}
        and p not in allowed
        and private.search(p.read_text())
    ]
    assert not found


def set_up(folder: Path, python: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(ROOT / "envs/setup.sh"), python, "venv"]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_set_up_refuses_a_wrong_python_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = set_up(tmp_path, str(old))
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert "Python 3.11" in sentence
    assert "found Python 3.9.2" in sentence
    assert not (tmp_path / "venv").exists()


def test_set_up_refuses_a_full_disk_in_one_sentence(tmp_path: Path) -> None:
    done = set_up(tmp_path, sys.executable, NEEDED_MB="999999999999")
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert "999999999999 MB of free disk" in sentence
    assert not (tmp_path / "venv").exists()
