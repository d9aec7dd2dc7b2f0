"""Each mistake in a configuration is one sentence that says what is wrong, what was found, where and what to do."""

import pytest

from scident import config
from scident.errors import ConfigError

BASE = {
    "datasets": {"sparse_shift": {}},
    "splits": {"iid": {}},
    "models": {"pca": {}, "vae": {}},
    "metrics": {"mcc_pearson": {}},
}
MODEL = 'from scident.info import ModelInfo\ninfo = ModelInfo(label="a", source="b", role="baseline", gives=())\n'

BROKEN = {
    "unknown top key": ({"replicatess": 3}, ["'replicatess'", "Did you mean 'replicates'?"]),
    "unknown entry key": ({"models": {"vae": {"epocs": 3}}}, ["models.vae", "'epocs'", "Did you mean 'epochs'?"]),
    "unknown use": ({"models": {"mine": {"use": "vea"}}}, ["models.mine", "'vea'", "Did you mean 'vae'?"]),
    "unknown entry name": ({"metrics": {"mcc_pearsn": {}}}, ["metrics.mcc_pearsn", "Did you mean 'mcc_pearson'?"]),
    "unknown dataset": (
        {"datasets": {"sparse_shiftt": {}}},
        ["datasets or simulators", "Did you mean 'sparse_shift'?"],
    ),
    "wrong type": ({"replicates": "five"}, ["replicates: must be a whole number, found 'five'"]),
    "fraction": ({"seeds": 2.5}, ["seeds: must be a whole number, found 2.5"]),
    "nothing": ({"replicates": None}, ["replicates: must be a whole number, found None"]),
    "out of range": ({"replicates": 0}, ["replicates: must be at least 1, found 0"]),
    "parameter out of range": (
        {"models": {"vae": {"learning_rate": 0}}},
        ["models.vae: learning_rate: must be above 0"],
    ),
    "not finite": ({"models": {"vae": {"learning_rate": float("inf")}}}, ["must be a finite number, found inf"]),
    "parameter of a wrong type": (
        {"splits": {"unseen_perturbation": {"last_n": "x"}}},
        ["splits.unseen_perturbation: last_n: must be a whole number, found 'x'"],
    ),
    "preparation out of range": (
        {"datasets": {"norman2019": {"prepare": {"max_mito": 20}}}},
        ["datasets.norman2019.prepare.max_mito: must be at most 1.0, found 20"],
    ),
    "unknown preparation": (
        {"datasets": {"norman2019": {"prepare": {"top_gene": 20}}}},
        ["unknown key 'datasets.norman2019.prepare.top_gene'", "Did you mean 'top_genes'?"],
    ),
    "preparation of a simulated world": (
        {"datasets": {"sparse_shift": {"prepare": {"top_genes": 20}}}},
        ["datasets.sparse_shift.prepare is for real data", "remove it"],
    ),
    "fraction and share overlap": (
        {"splits": {"unseen_combination": {"fraction": 0.8}}},
        ["splits.unseen_combination", "fraction must be at most 1 - share (0.75), or 1"],
    ),
    "empty grid": (
        {"models": {"vae": {"grid": {"epochs": []}}}},
        ["models.vae.grid.epochs is empty; list at least one"],
    ),
    "repeated grid values": ({"models": {"vae": {"grid": {"epochs": [3, 3]}}}}, ["repeats a value, found [3, 3]"]),
    "set twice": ({"models": {"vae": {"epochs": 3, "grid": {"epochs": [4]}}}}, ["sets 'epochs' twice", "keep one"]),
    "grid is no list": ({"models": {"vae": {"grid": {"epochs": 3}}}}, ["grid.epochs: must be a list", "found 3"]),
    "grid is no mapping": ({"models": {"vae": {"grid": [3]}}}, ["models.vae.grid: must be a mapping", "found [3]"]),
    "unknown grid key": ({"models": {"vae": {"grid": {"epoch": [3]}}}}, ["models.vae.grid", "Did you mean 'epochs'?"]),
    "grid value out of range": ({"models": {"vae": {"grid": {"epochs": [-3]}}}}, ["must be at least 0, found -3"]),
    "missing datasets": ({"datasets": ...}, ["datasets is missing; add it"]),
    "misspelt section": ({"datasets": ..., "dataset": {}}, ["'dataset'", "Did you mean 'datasets'?"]),
    "no dataset": ({"datasets": {}}, ["datasets: must not be empty; add at least 1"]),
    "null datasets": ({"datasets": None}, ["datasets: must be a mapping", "found None"]),
    "list instead of mapping": ({"models": ["pca"]}, ["models must map names to entries", "found a list"]),
    "text instead of entry": ({"models": {"pca": "yes"}}, ["models.pca: must be a mapping", "found 'yes'"]),
    "use is a number": ({"models": {"pca": {"use": 3}}}, ["models.pca.use: must be text, found 3"]),
    "key is a number": ({3: 4}, ["3: must have a name that is text"]),
    "bad entry name": (
        {"models": {"My PCA": {"use": "pca"}}},
        ["models: the name 'My PCA' must be lower-case", "rename"],
    ),
    "entry name ends in a newline": ({"models": {"pca\n": {"use": "pca"}}}, [r"'pca\n'", "must be lower-case"]),
    "name of another file": (
        {"models": {"oracle_truth": {"use": "pca"}}},
        ["models.oracle_truth uses 'pca'", "another name"],
    ),
    "unknown scale": ({"scale": "fats", "scales": {"fast": {}}}, ["scale is 'fats'", "Did you mean 'fast'?"]),
    "scale without scales": ({"scale": "fast"}, ["scale is 'fast', but `scales` has []", "remove `scale`"]),
    "scale is no mapping": ({"scale": "fast", "scales": {"fast": 3}}, ["scales.fast: must be a mapping", "found 3"]),
    "mistake in a scale": ({"scales": {"fast": {"seedz": 1}}}, ["scale: fast", "'seedz'", "Did you mean 'seeds'?"]),
    "h5ad without path": ({"datasets": {"h5ad": {}}}, ["datasets.h5ad has no path", "--config path=FILE"]),
    "h5ad path that does not exist": (
        {"datasets": {"mine": {"use": "h5ad", "path": "nowhere.h5ad"}}},
        ["datasets.mine: path: there is no file 'nowhere.h5ad'", "mend the path"],
    ),
    "path that does not exist": ({"path": "nowhere.h5ad", "datasets": {"h5ad": {}}}, ["no file 'nowhere.h5ad'"]),
    "truth without shift": (
        {"datasets": {"mine": {"use": "h5ad", "path": "a", "truth": {"z": "b"}}}},
        ["datasets.mine: truth.shift is missing; add it"],
    ),
    "unknown key below an entry": (
        {"datasets": {"mine": {"use": "h5ad", "path": "a", "truth": {"z": "b", "shiftt": "c"}}}},
        ["'truth.shiftt'; known: ['shift', 'z']. Did you mean 'shift'?"],
    ),
    "plugin file missing": ({"plugins": ["nowhere.py"]}, ["plugins: no file 'nowhere.py'", "paths count from"]),
    "plugins is text": ({"plugins": "mine.py"}, ["plugins: must be a list", "found 'mine.py'"]),
    "plugin without info": ({"plugins": [("mine.py", "x = 1\n")]}, ["mine.py' must hold `info = "]),
    "plugin is not Python": ({"plugins": [("mine.py", "def (\n")]}, ["mine.py' is not Python"]),
    "plugin takes a taken name": (
        {"plugins": [("pca.py", MODEL)]},
        ["takes the name of models/pca.py; rename the file"],
    ),
    "plugin fails on import": (
        {"plugins": [("mine.py", MODEL + "1 / 0\n")], "models": {"mine": {}}},
        ["models.mine", "fails on import: ZeroDivisionError"],
    ),
    "plugin without params": (
        {"plugins": [("mine.py", MODEL)], "models": {"mine": {}}},
        ["models.mine: the file mine.py of models has no class Params"],
    ),
    "no latents": ({"n_latents": 0}, ["n_latents: must be at least 1, found 0"]),
    "too few latents for the simulator": ({"n_latents": 2}, ["datasets.sparse_shift: n_latents: must be at least 3"]),
    "simulator widths": (
        {"datasets": {"sparse_shift": {"n_genes": 20}}},
        ["n_latents ≤ n_hidden ≤ n_genes", "change one"],
    ),
    "protocol misspelt": (
        {"splits": {"iid": {"protocol": "holdout"}}},
        ["must be 'heldout' or 'released', found 'holdout'"],
    ),
    "nothing held out": (
        {"splits": {"unseen_perturbation": {"held_out": []}}},
        ["splits.unseen_perturbation: held_out: must not be empty"],
    ),
    "held-out key misspelt": (
        {"splits": {"unseen_perturbation": {"heldout": ["a"]}}},
        ["'heldout'", "Did you mean 'held_out'?"],
    ),
    "unknown dataset of a model": (
        {"models": {"pca": {"datasets": ["wrld"]}}},
        ["models.pca.datasets names 'wrld'", "known: ["],
    ),
    "compared with an unknown model": (
        {"models": {"pca": {"compared_with": "pcaa"}}},
        ["models.pca.compared_with names 'pcaa'", "Did you mean 'pca'?"],
    ),
    "members per job": ({"members_per_job": 0}, ["members_per_job: must be at least 1, found 0"]),
    "attempts": ({"attempts": 0}, ["attempts: must be at least 1, found 0"]),
}


@pytest.fixture
def broken(request, tmp_path, plugins):
    """A sound configuration with one change; a plug-in given as (name, text) is written to a file."""
    raw = {key: value for key, value in {**BASE, **request.param}.items() if value is not ...}
    if isinstance(raw.get("plugins"), list):
        for i, plugin in enumerate(raw["plugins"]):
            if isinstance(plugin, tuple):
                (tmp_path / plugin[0]).write_text(plugin[1])
                raw = {**raw, "plugins": [*raw["plugins"][:i], str(tmp_path / plugin[0]), *raw["plugins"][i + 1 :]]}
    return raw


@pytest.mark.parametrize(("broken", "says"), BROKEN.values(), ids=BROKEN, indirect=["broken"])
def test_a_mistake_is_one_sentence(broken, says):
    with pytest.raises(ConfigError) as found:
        config.load(broken)
    message = str(found.value)
    assert message.startswith("config")
    assert "\n" not in message
    assert [words for words in says if words not in message] == []


@pytest.mark.parametrize("raw", [None, [], 3, "text"])
def test_a_configuration_that_is_no_mapping_is_one_sentence(raw):
    with pytest.raises(ConfigError, match="config: must be a mapping of keys, found") as found:
        config.load(raw)
    assert "\n" not in str(found.value)


def test_the_sound_configuration_passes():
    assert config.load(BASE).models
