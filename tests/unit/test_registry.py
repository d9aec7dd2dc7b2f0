"""Plug-ins are found by file name and described without being imported."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from scident import registry
from scident.errors import PluginError
from scident.info import File, Size

ALL = [(kind, name) for kind in registry.INFO_CLASSES for name in registry.known(kind)]
METRIC = '''"""A metric."""
from scident.info import MetricInfo
from scident.params import PluginParams
info = MetricInfo(
    label="Mine", source="me", formula="1", needs=("latents",), range=(0.0, 1.0), better="higher"
)
class Params(PluginParams):
    """Nothing."""
def score(inputs, params, rng):
    return []
'''


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("kind", registry.INFO_CLASSES)
def test_known_leaves_helpers_out(kind):
    names = registry.known(kind)
    assert names == sorted(names)
    assert "base" not in names
    assert not any(name.startswith("_") for name in names)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_describe_equals_the_imported_info(kind, name):
    assert registry.describe(kind, name) == registry.load(kind, name).info


def test_describing_everything_imports_no_plugin_and_no_torch():
    code = (
        "import sys; from scident import registry\n"
        "for kind in registry.INFO_CLASSES:\n    for name in registry.known(kind): registry.describe(kind, name)\n"
        "print(sorted(m for m in sys.modules if m == 'torch' or m.count('.') == 2 and m.split('.')[1] in "
        "registry.INFO_CLASSES))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_path_of_an_unknown_name_lists_the_known_and_the_nearest():
    with pytest.raises(PluginError, match=r"no models 'pac'; known: \['additive', 'beta_vae'.*Did you mean 'pca'\?"):
        registry.path_of("models", "pac")


def test_register_finds_kind_and_name_of_a_file(plugins, write):
    path = write(METRIC)
    plugins([path, str(path)])
    assert "mine" in registry.known("metrics")
    assert registry.describe("metrics", "mine").label == "Mine"
    module = registry.load("metrics", "mine")
    assert module.score(None, None, None) == []
    assert registry.load("metrics", "mine") is module


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("mine.py", "x = 1\n", "must hold `info = "),
        ("mine.py", "info = 3\n", "must hold `info = "),
        ("mine.py", "info = Something()\n", "must hold `info = "),
        ("mine.py", "def (", "is not Python"),
        ("mcc_pearson.py", METRIC, "takes the name of metrics/mcc_pearson.py"),
        ("h5ad.py", "info = SimulatorInfo(label='a', source='b')\n", "takes the name of datasets/h5ad.py"),
    ],
)
def test_register_refuses_what_is_no_plugin(plugins, write, name, text, says):
    with pytest.raises(PluginError, match=says):
        plugins([write(text, name)])
    assert "mine" not in registry.known("metrics")


def test_register_refuses_a_missing_file(plugins):
    with pytest.raises(PluginError, match=r"no file 'nowhere\.py'"):
        plugins(["nowhere.py"])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [('"Mine"', 'str("Mine")', "literals"), ("label=", "labell=", "labell"), ("label=", "**more, label=", None)],
)
def test_describe_says_what_is_wrong_with_an_info(plugins, write, old, new, says):
    plugins([write(METRIC.replace(old, new))])
    if says is None:  # a double star is no keyword of its own; what is left is complete
        assert registry.describe("metrics", "mine").label == "Mine"
    else:
        with pytest.raises(PluginError, match=says):
            registry.describe("metrics", "mine")


NESTED = """from scident.info import DatasetInfo, File, Size
info = DatasetInfo(
    label="Mine", source="me", files=(File(name="a.h5ad", urls=("https://x/a",), bytes=3),), stored=Size(cells=5)
)
"""


def test_describe_reads_declarations_inside_an_info(plugins, write):
    plugins([write(NESTED)])
    found = registry.describe("datasets", "mine")
    assert found.files == (File(name="a.h5ad", urls=("https://x/a",), bytes=3),)
    assert found.stored == Size(cells=5)


@pytest.mark.parametrize("other", ["open('a')", "File(**{})", "Size(cells=int(5))", "Size(5)"])
def test_describe_calls_nothing_but_declarations_with_named_literals(plugins, write, other):
    plugins([write(NESTED.replace("Size(cells=5)", other))])
    with pytest.raises(PluginError, match="must be known literals"):
        registry.describe("datasets", "mine")


def test_load_of_a_file_that_fails_names_file_and_cause_and_leaves_nothing(plugins, write):
    plugins([write(METRIC + "raise ValueError('gone wrong')\n")])
    with pytest.raises(PluginError, match=r"mine.py' fails on import: ValueError: gone wrong"):
        registry.load("metrics", "mine")
    assert "scident_plugin_metrics_mine" not in sys.modules


def test_installed_plugins_are_found_through_their_entry_point(monkeypatch):
    entry = EntryPoint("theirs", "scident.metrics.nelbo", "scident.metrics")
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [entry])
    found = registry._installed.__wrapped__("metrics")
    assert found == {"theirs": registry.path_of("metrics", "nelbo")}


def test_code_digest_follows_the_plugins_file(plugins, write):
    path = write(METRIC)
    plugins([path])
    before = registry.code_digest("metrics", "mine", "score")
    assert before == registry.code_digest("metrics", "mine", "score")
    path.write_text(METRIC + "\n# changed\n")
    assert registry.code_digest("metrics", "mine", "score") != before


def reached(kind, name, stage):
    start = [registry.path_of(kind, name), registry.PACKAGE / "stages" / f"{stage}.py"]
    return {path.relative_to(registry.PACKAGE).as_posix() for path in registry._reachable(start)}


def test_code_digest_of_a_model_covers_its_engine_and_no_metric_or_plumbing():
    files = reached("models", "svae_plus", "train")
    assert {"models/svae_plus.py", "models/_batched.py", "engine/trainer.py", "stages/train.py", "rng.py"} <= files
    assert not any(file.startswith(("metrics/", "aggregate/", "report/")) for file in files)
    assert not {"cli.py", "config.py", "plan.py", "log.py", "io.py"} & files


def test_code_digest_of_a_metric_covers_its_helpers_and_no_model():
    files = reached("metrics", "mcc_pearson", "score")
    assert {"metrics/mcc_pearson.py", "metrics/_assign.py", "metrics/_cells.py", "stages/score.py"} <= files
    assert not any(file.startswith(("models/", "engine/")) for file in files)
    assert "metrics/nelbo.py" not in files


def test_code_digests_cover_what_everybody_reads_expression_by():
    assert {"preparation.py", "stages/_prepare.py", "stages/split.py"} <= reached("splits", "iid", "split")
    assert "expression.py" in reached("models", "no_change", "infer") & reached("metrics", "nelbo", "score")


def test_package_is_where_the_code_is():
    assert Path(registry.__file__).parent == registry.PACKAGE
