"""The configuration: defaults, merging, and what the top level hands down to entries."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scident import config
from scident.errors import ConfigError

SHIPPED = sorted(Path(__file__).parents[2].glob("config/*.yaml"))
BASE = {
    "datasets": {"sparse_shift": None},
    "splits": {"iid": None},
    "models": {"pca": None},
    "metrics": {"mcc_pearson": None},
}


def test_load_fills_in_defaults():
    found = config.load(BASE)
    assert (found.replicates, found.seeds, found.n_latents, found.attempts) == (5, 2, 15, 2)
    assert found.members_per_job is None
    assert found.splits["iid"].protocol == "heldout"
    assert found.models["pca"].grid == {}


def test_load_leaves_its_input_as_it_is():
    raw = {**BASE, "scale": "fast", "scales": {"fast": {"models": {"pca": {"n_latents": 2}}}}}
    kept = repr(raw)
    config.load(raw)
    assert repr(raw) == kept


def test_a_resolved_configuration_loads_again():
    found = config.load({**BASE, "replicates": 3})
    assert config.load(found.model_dump(exclude={"scale", "scales"}), deep=False) == found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path, tmp_path):
    raw = yaml.safe_load(path.read_text())
    raw["path"] = str(tmp_path / "mine.h5ad")  # the user's file, or one that another run makes
    Path(raw["path"]).touch()
    assert config.load(raw).datasets


def test_scale_overrides_key_by_key():
    scales = {"fast": {"replicates": 1, "models": {"pca": {"n_latents": 3}}}, "full": None}
    fast = config.load({**BASE, "seeds": 4, "scale": "fast", "scales": scales})
    assert (fast.replicates, fast.seeds, fast.models["pca"].n_latents) == (1, 4, 3)
    full = config.load({**BASE, "scale": "full", "scales": scales})
    assert (full.replicates, full.models["pca"].n_latents) == (5, None)


def test_a_simulator_gets_the_number_of_latents():
    raw = {
        **BASE,
        "n_latents": 7,
        "datasets": {"a": {"use": "sparse_shift"}, "b": {"use": "sparse_shift", "n_latents": 5}},
    }
    found = config.load(raw)
    assert config.resolved_params(found, "datasets", "a") == {"n_latents": 7}
    assert config.resolved_params(found, "datasets", "b") == {"n_latents": 5}
    assert config.kind_of(found, "datasets", "a") == "simulators"


def test_an_h5ad_entry_gets_the_path(tmp_path):
    mine, other = tmp_path / "mine.h5ad", tmp_path / "other.h5ad"
    mine.touch()
    other.touch()
    entries = {"a": {"use": "h5ad"}, "b": {"use": "h5ad", "path": str(other)}}
    found = config.load({**BASE, "path": str(mine), "datasets": entries})
    assert config.resolved_params(found, "datasets", "a")["path"] == str(mine)
    assert config.resolved_params(found, "datasets", "b")["path"] == str(other)
    assert config.kind_of(found, "datasets", "a") == "datasets"


def test_shallow_load_leaves_parameters_and_torch_alone():
    code = (
        "import sys; from scident import config\n"
        f"config.load({BASE | {'models': {'svae_plus': {'epocs': 3}}}!r}, deep=False)\n"
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_plugins_of_the_configuration_are_known(plugins, tmp_path):
    text = Path(config.registry.path_of("models", "pca")).read_text()
    (tmp_path / "mine.py").write_text(text)
    found = config.load({**BASE, "models": {"mine": None}, "plugins": [str(tmp_path / "mine.py")]})
    assert "mine" in found.models


def test_several_mistakes_are_told_at_once_and_a_misspelt_key_once():
    with pytest.raises(ConfigError) as found:
        config.load({**BASE, "replicates": 0, "seeds": "two"})
    assert str(found.value).count("\n") == 1
    with pytest.raises(ConfigError) as found:
        config.load({"dataset": {}, **{k: v for k, v in BASE.items() if k != "datasets"}})
    assert str(found.value).count("\n") == 0


def test_schema_describes_every_key():
    schema = config.schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    parts = [schema, *schema["$defs"].values()]
    missing = [key for part in parts for key, value in part["properties"].items() if not value.get("description")]
    assert not missing
