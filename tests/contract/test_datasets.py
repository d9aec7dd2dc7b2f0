"""Every dataset keeps its word."""

import pytest

from _cells import cells
from _miniatures import MINIATURES, publish
from scident import contracts, registry
from scident.datasets.base import Dataset

NAMES = registry.known("datasets")


@pytest.mark.parametrize("name", NAMES)
def test_file_has_the_form_of_its_kind(name):
    assert isinstance(registry.load("datasets", name), Dataset)


@pytest.mark.parametrize("name", NAMES)
def test_info_is_complete(name):
    info = registry.describe("datasets", name)
    assert info.label
    assert info.source
    assert info.licence
    assert info.organism
    assert registry.load("datasets", name).info == info


@pytest.mark.parametrize("name", NAMES)
def test_params_describe_every_field_and_refuse_others(name):
    params = registry.load("datasets", name).Params
    assert all(field.description for field in params.model_fields.values())
    assert params.model_config["extra"] == "forbid"
    assert params.model_config["frozen"]


@pytest.mark.parametrize("name", NAMES)
def test_name_is_not_a_simulators_too(name):
    assert name not in registry.known("simulators")


@pytest.mark.parametrize("name", NAMES)
def test_load_gives_data_that_keep_their_contract(name, monkeypatch, tmp_path):
    module = registry.load("datasets", name)
    needs_path = "path" in module.Params.model_fields and not module.info.files
    if needs_path:
        cells().write_h5ad(tmp_path / "mine.h5ad")
    if module.info.files:
        assert name in MINIATURES, f"add a miniature of the file of {name} to tests/_miniatures.py"
        publish(name, monkeypatch, tmp_path)
    params = module.Params(path=str(tmp_path / "mine.h5ad")) if needs_path else module.Params()
    contracts.check_data(module.load(params, tmp_path / "cache"))
