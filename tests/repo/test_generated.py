"""Generated files are what their generator writes."""

import json
from pathlib import Path

from scident import config

SCHEMA = Path(__file__).parents[2] / "config" / "schema.json"


def test_schema_file_equals_the_code():
    assert json.loads(SCHEMA.read_text()) == config.schema(), "fix: python -m scident schema > config/schema.json"
