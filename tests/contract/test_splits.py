"""Every split keeps its word."""

import numpy as np
import pytest

from _cells import mapped
from scident import io, registry
from scident.splits.base import Split
from scident.stages import split
from scident.types import condition_columns

NAMES = registry.known("splits")
LABELS = ("control", *(f"p{k:02d}" for k in range(30)), *(f"p{k:02d}+p{k + 1:02d}" for k in range(8)))


def held_out(name, adata, seed=0):
    module = registry.load("splits", name)
    return module.assign(adata, module.Params(), np.random.default_rng(seed))


@pytest.fixture
def adata():
    """Enough perturbations, contexts and doses for the defaults of any split."""
    found = mapped(labels=LABELS, per_label=48, contexts=("x", "y", "z"))
    dose = np.resize(np.repeat([1.0, 10.0], len(LABELS)), found.n_obs)
    found.obs["dose"] = np.where(found.obs["is_control"], 0.0, dose)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_file_has_the_form_of_its_kind(name):
    assert isinstance(registry.load("splits", name), Split)


@pytest.mark.parametrize("name", NAMES)
def test_info_is_complete(name):
    info = registry.describe("splits", name)
    assert info.label
    assert info.source
    assert registry.load("splits", name).info == info


@pytest.mark.parametrize("name", NAMES)
def test_params_describe_every_field_and_refuse_others(name):
    params = registry.load("splits", name).Params
    assert all(field.description for field in params.model_fields.values())
    assert params.model_config["extra"] == "forbid"
    assert params.model_config["frozen"]


@pytest.mark.parametrize("name", NAMES)
def test_assign_answers_for_every_cell_and_keeps_controls(name, adata):
    found = held_out(name, adata)
    assert found.index.equals(adata.obs_names)
    assert found.dtype in (bool, "boolean")
    assert not found[adata.obs["is_control"].to_numpy()].any()
    assert not found.all()


@pytest.mark.parametrize("name", NAMES)
def test_assign_holds_out_whole_conditions_unless_it_says_that_it_does_not(name, adata):
    condition = adata.obs[condition_columns(adata.obs)].astype(str).agg("/".join, axis=1)
    whole = (held_out(name, adata).groupby(condition).nunique() == 1).all()
    assert whole == registry.describe("splits", name).whole


@pytest.mark.parametrize("name", NAMES)
def test_assign_depends_on_labels_and_seed_alone(name, adata):
    first = held_out(name, adata)
    other = adata.copy()
    other.X = other.X[::-1].copy()
    assert held_out(name, other).equals(first)


@pytest.mark.parametrize("protocol", ["heldout", "released"])
@pytest.mark.parametrize("name", NAMES)
def test_held_out_conditions_never_reach_training(name, protocol, adata, tmp_path):
    io.write_h5ad(adata, tmp_path / "r0.h5ad")
    outputs = [tmp_path / file for file in ("parts.parquet", "train.h5ad", "parts.sha256")]
    spec = {"dataset": "d", "name": name, "use": name, "protocol": protocol, "params": {}, "replicates": [0]}
    split.run(spec, [tmp_path / "r0.h5ad"], *outputs)
    parts = io.read_table(outputs[0], "parts").set_index("cell_id")
    assert parts.index.tolist() == adata.obs_names.tolist()
    trained = io.read_data(outputs[1]).obs["cell_id"].astype(str)
    assert not parts.loc[trained, "heldout"].any()
    assert (parts["part"].str.startswith("heldout") == parts["heldout"]).all()
