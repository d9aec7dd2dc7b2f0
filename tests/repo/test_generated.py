"""Generated files are what their generator writes."""

import json
from pathlib import Path

from scident import config

SCHEMA = Path(__file__).parents[2] / "config" / "schema.json"


def test_schema_file_equals_the_code():
    assert json.loads(SCHEMA.read_text()) == config.schema(), "fix: python -m scident schema > config/schema.json"


def test_every_key_of_the_configuration_is_explained_beside_it():
    said = (SCHEMA.parent / "README.md").read_text()
    entries = (config.DatasetEntry, config.SplitEntry, config.ModelEntry, config.MetricEntry)
    keys = {key for model in (config.Config, *entries) for key in model.model_fields}
    assert sorted(key for key in keys if f"`{key}`" not in said) == []
