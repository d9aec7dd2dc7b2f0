"""The command line: it helps, and a mistake is one line on stderr and exit status 1."""

import json
import subprocess
import sys

import pytest

from _cells import cells
from scident import __version__, config
from scident.cli import app

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]
SPEC = {
    "dataset": "d",
    "name": "x",
    "use": "iid",
    "protocol": "heldout",
    "params": {},
    "replicates": [0],
    "plugins": [],
}
SPLIT = ("split", "--parts", "p.parquet", "--train", "t.h5ad", "--digest", "d.sha256", "r0.h5ad")


def test_there_is_a_command_for_each_stage_and_each_question():
    stages = {"data", "split", "train", "infer", "score", "aggregate", "report"}
    assert stages | {"list", "fetch", "explain", "check", "new", "schema"} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps(command, name):
    status, out, _ = command(name, "--help")
    assert status == 0
    assert "Usage" in out


def test_no_command_is_help(command):
    assert "Usage" in "".join(command()[1:])


def test_version_is_printed(command):
    assert command("--version")[:2] == (0, f"{__version__}\n")


def test_schema_is_printed_as_json(command):
    status, out, _ = command("schema")
    assert status == 0
    assert json.loads(out) == config.schema()


@pytest.mark.parametrize("what", ["models", "metrics", "datasets", "simulators", "splits", "failed"])
def test_list_answers(command, what, tmp_path):
    assert command("list", what, "--results", tmp_path)[0] == 0


def test_explain_answers(command):
    status, out, _ = command("explain", "nelbo")
    assert status == 0
    assert "lower" in out


def test_new_writes_a_plugin(command, tmp_path):
    status, out, _ = command("new", "metric", "mine", "--folder", tmp_path)
    assert status == 0
    assert f"wrote {tmp_path}/mine.py" in out
    assert (tmp_path / "mine.py").is_file()


def test_check_of_a_sound_file_ends_well_and_of_a_broken_one_does_not(command, tmp_path):
    adata = cells()
    adata.write_h5ad(tmp_path / "sound.h5ad")
    adata.X[0, 0] = -1
    adata.write_h5ad(tmp_path / "broken.h5ad")
    assert command("check", tmp_path / "sound.h5ad")[0] == 0
    status, out, _ = command("check", tmp_path / "broken.h5ad")
    assert status == 1
    assert "negative" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("list", "model"), "Did you mean 'models'?"),
        (("explain", "mcc_pearsn"), "Did you mean 'mcc_pearson'?"),
        (("new", "mudel", "foo"), "Did you mean 'model'?"),
        (("new", "model", "pca"), "is taken by models/pca.py"),
        ((*SPLIT, "--spec", "{"), "--spec: not JSON"),
        ((*SPLIT, "--spec", "[]"), "--spec: must be a JSON object"),
        ((*SPLIT, "--spec", json.dumps({**SPEC, "use": "idd"})), "Did you mean 'iid'?"),
        ((*SPLIT, "--spec", json.dumps(SPEC)), "r0.h5ad"),
        (("train", "--data", "t", "--out", "o", "--spec", "{"), "--spec: not JSON"),
        (("infer", "--train", "t", "--parts", "p", "--out", "o", "f", "--spec", "nul"), "--spec: not JSON"),
        (("aggregate", "--results", "r", "--out", "o", "--config", "{}"), "datasets is missing"),
        (("report", "--aggregate", "a", "--out", "o", "--config", "x"), "--config: not JSON"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(command, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(*arguments)
    assert status == 1
    assert out == ""
    assert err.startswith("scident: ")
    assert says in err
    assert "Traceback" not in err
    if "{}" not in arguments:  # an empty configuration is several mistakes
        assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_note_stands_beside_the_sentence(command, tmp_path):
    adata = cells()
    adata.write_h5ad(tmp_path / "r0.h5ad")  # no data file: columns are missing
    status, _, err = command(*SPLIT[:-1], str(tmp_path / "r0.h5ad"), "--spec", json.dumps(SPEC))
    assert status == 1
    assert "lacks" in err
    assert f"(while reading {tmp_path}/r0.h5ad)" in err


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "scident", "list", "model"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1
