"""Documents name files that exist, and each seam has its how-to (links and lengths: test_house.py)."""

import re
from pathlib import Path

import pytest

from scident import registry
from scident.scaffold import KINDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("config/*.md")])
NAMED = re.compile(r"`((?:src|docs|config|tests|workflow|profiles|envs)/[\w./-]*)`")
INSIDE = re.compile(r"`((?:models|metrics|datasets|simulators|splits|engine|stages)/[\w./-]+\.py)`")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_names_files_that_exist(path):
    text = path.read_text()
    named = [ROOT / name for name in NAMED.findall(text)]
    named += [ROOT / "src/scident" / name for name in INSIDE.findall(text)]
    written = {"my_model.py", "my_metric.py", "my_screen.py", "my_world.py", "my_split.py"}  # by the reader
    assert [name.as_posix() for name in named if not name.exists() and name.name not in written] == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_plugin_has_a_short_how_to(kind):
    text = (ROOT / "docs" / f"add-a-{kind}.md").read_text()
    assert f"scident new {kind} " in text
    assert len(text.splitlines()) <= 80


@pytest.mark.parametrize("name", registry.known("splits"))
def test_each_split_has_a_picture(name):
    """`python docs/splits/draw.py` makes them."""
    text = (ROOT / "docs/add-a-split.md").read_text()
    assert f"(splits/{name}.svg)" in text
    assert (ROOT / f"docs/splits/{name}.svg").read_text().startswith("<svg ")
    assert f'"{name}": Picture(' in (ROOT / "docs/splits/draw.py").read_text()


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/adr/*.md")), ids=lambda path: path.stem)
def test_a_decision_record_says_what_was_given_up(path):
    text = path.read_text()
    assert re.match(r"# \d+\. ", text)
    assert "## What we gave up" in text
