import numpy as np
import pytest

from _cells import cells
from scident.errors import ConfigError
from scident.stages import check


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.h5ad"


def test_run_summarises_a_sound_file(path):
    adata = cells(contexts=("x", "y"))
    adata.X[:] = 0
    adata.X[:, :3] = 2
    adata.X[:, 3:] = np.eye(9)[np.arange(80) % 9]
    adata.write_h5ad(path)
    report = check.run(path, {"context": "line"})
    assert (report.errors, report.notes) == ([], [])
    assert report.summary == [
        "cells               80",
        "genes               12",
        "perturbations       3, cells of each 20 – 20 – 20 (min – median – max)",
        "control cells       20 ('control')",
        "contexts            2 (obs['line'])",
        "counts per cell     7 – 7 – 7",
        "genes per cell      4 – 4 – 4",
        "zeros               66.7 % of all values",
        "truth               unknown: stability and probes only",
        f"run it              snakemake --cores 2 --configfile config/local.yaml --config path={path} "
        "(first set context of datasets.local in that file)",
        f"in a configuration  datasets: {{mine: {{use: h5ad, path: {path}, context: line}}}}",
    ]


def test_run_gives_the_bare_command_where_every_key_takes_its_default(path):
    cells().write_h5ad(path)
    command = f"run it              snakemake --cores 2 --configfile config/local.yaml --config path={path}"
    assert command in check.run(path).summary


def test_run_notes_no_controls_and_names_a_likely_one(path):
    cells(labels=("a", "Non_Targeting")).write_h5ad(path)
    report = check.run(path)
    assert not report.errors
    assert report.notes == [
        "obs['perturbation'] names no controls, so scores that compare with controls will not apply; 'Non_Targeting' "
        "looks like one, set `control` to it if it is"
    ]
    assert "control cells       none" in report.summary


def test_run_takes_null_for_no_controls(path):
    cells(labels=("a", "control")).write_h5ad(path)
    report = check.run(path, {"control": None})
    assert len(report.notes) == 1
    assert "control cells       none" in report.summary


def test_run_notes_small_perturbations_and_silent_genes(path):
    adata = cells()[:-15].copy()
    adata.obs.loc[adata.obs_names[:12], "perturbation"] = "rare"
    adata.obs.loc[adata.obs_names[:7], "perturbation"] = "rarer"
    adata.X[:, 5] = 0
    adata.write_h5ad(path)
    first, second = check.run(path).notes
    assert first.startswith("obs['perturbation']: 2 of 6 labels have fewer than 10 cells (smallest: 'rare' with 5)")
    assert second.startswith("1 of 12 genes are 0 in every cell")


def test_run_lists_every_error_and_no_summary(path):
    adata = cells()
    adata.X[0, 0] = -1
    adata.obs.loc["c3", "perturbation"] = None
    adata.write_h5ad(path)
    report = check.run(path)
    assert len(report.errors) == 2
    assert not report.summary


def test_run_says_that_the_truth_is_known(path):
    adata = cells()
    adata.obsm["z"], adata.uns["shift"] = np.ones((80, 2)), np.ones((4, 2))
    adata.write_h5ad(path)
    assert "truth               known" in check.run(path, {"truth": {"z": "z", "shift": "shift"}}).summary


def test_run_refuses_unknown_options(path):
    with pytest.raises(ConfigError, match=r"option 'contxt': .*known: .*'context'"):
        check.run(path, {"contxt": "line"})
