"""Every way a user's file can be wrong gives one sentence and leaves nothing behind."""

import h5py
import numpy as np
import pandas as pd
import pytest

from _cells import cells
from scident.errors import DataError
from scident.stages import check, data

TRUTH = {"z": "z", "shift": "shift"}
BROKEN = {}


def broken(*says, **params):
    """Register a way to break a sound file (a function of the AnnData), what must be said, and the entry's keys."""

    def register(function):
        BROKEN[function.__name__] = (function, says, params)
        return function

    return register


@broken("1 negative values", "X", "put the raw counts there")
def negative_counts(adata):
    adata.X[3, 2] = -2


@broken("not whole numbers", "largest is 2.5", "put the raw counts there")
def fractions(adata):
    adata.X = np.full(adata.shape, 2.5, dtype=np.float32)


@broken("not whole numbers", "layers['counts'] holds whole numbers", "`adata.X = adata.layers['counts']`")
def logarithms_with_counts_in_a_layer(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = np.log1p(adata.X)


@broken("not whole numbers", "raw.X holds whole numbers", "adata.raw.to_adata()")
def logarithms_with_counts_in_raw(adata):
    adata.raw = adata.copy()
    adata.X = np.log1p(adata.X)


@broken("2 NaN or infinite values", "X")
def gaps_in_the_counts(adata):
    adata.X[0, 0], adata.X[1, 1] = np.nan, np.inf


@broken("type bool", "X", "put the raw counts there")
def truth_values_for_counts(adata):
    adata.X = adata.X > 0


@broken("X is empty", "layers['counts']")
def no_expression(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = None


@broken("var_names repeats 1 gene names", "'g0'", "var_names_make_unique")
def repeated_genes(adata):
    adata.var.index = ["g0", "g0", *adata.var_names[2:]]


@broken("obs_names repeats 1 cell names", "'c0'", "obs_names_make_unique")
def repeated_cells(adata):
    adata.obs.index = ["c0", "c0", *adata.obs_names[2:]]


@broken("obs has no column 'pertubation'", "Did you mean 'perturbation'?", perturbation="pertubation")
def misspelt_perturbation_key(adata):
    del adata


@broken("obs has no column 'lines' for the context", "Did you mean 'line'?", context="lines")
def misspelt_context_key(adata):
    del adata


@broken("obs has no column 'plate' for the batch", "set `batch` to one of them", batch="plate")
def missing_batch_key(adata):
    del adata


@broken("obs['perturbation'] has no perturbation label (NaN) for 2 of 80 cells", "label or remove")
def cells_without_label(adata):
    adata.obs.loc[["c3", "c4"], "perturbation"] = None


@broken("obs['line'] has no context label (NaN) for 1 of 80 cells", context="line")
def cell_without_context(adata):
    adata.obs.loc["c3", "line"] = None


@broken("no control label 'ctrl'", "set `control` to one of them or to null", control="ctrl")
def no_such_control(adata):
    del adata


@broken("single label, 'a'", "set `perturbation`")
def one_perturbation(adata):
    adata.obs["perturbation"] = "a"


@broken("2 empty cells", "'c5'", "remove them")
def empty_cells(adata):
    adata.X[[5, 9]] = 0


@broken("0 cells and 12 genes")
def no_cells(adata):
    adata._inplace_subset_obs([])


@broken("80 cells and 0 genes")
def no_genes(adata):
    adata._inplace_subset_var([])


@broken("obsm has no key 'z'", "Did you mean 'zz'?", "`truth.z`", truth=TRUTH)
def missing_latents(adata):
    adata.obsm["zz"] = np.ones((80, 2))


@broken("uns has no key 'shift'", "`truth.shift`", truth=TRUTH)
def missing_shift(adata):
    adata.obsm["z"] = np.ones((80, 2))


@broken("uns['shift'] is 3 × 2", "ask for 4 × 2", truth=TRUTH)
def shift_with_too_few_rows(adata):
    adata.obsm["z"], adata.uns["shift"] = np.ones((80, 2)), np.ones((3, 2))


@broken("obsm['z'] holds values that are not finite numbers", truth=TRUTH)
def gaps_in_the_latents(adata):
    adata.obsm["z"], adata.uns["shift"] = np.full((80, 2), np.nan), np.ones((4, 2))


@broken("uns['shift'] lacks a row for 'b'", truth=TRUTH)
def shift_table_of_other_labels(adata):
    adata.obsm["z"] = np.ones((80, 2))
    adata.uns["shift"] = pd.DataFrame(np.ones((4, 2)), index=["control", "a", "c", "d"], columns=["0", "1"])


def refused(path, tmp_path, **params):
    """Run the data stage on a file and return its one sentence."""
    spec = {"name": "mine", "kind": "datasets", "use": "h5ad", "params": {"path": str(path), **params}}
    results = tmp_path / "results"
    with pytest.raises(DataError) as caught:
        data.run(spec, 0, results / "r0.h5ad", results / "r0.truth.h5ad", tmp_path)
    assert not results.exists()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_file_gives_one_sentence_and_no_output(name, tmp_path):
    spoil, says, params = BROKEN[name]
    adata = cells()
    spoil(adata)
    path = tmp_path / "mine.h5ad"
    adata.write_h5ad(path)
    message = refused(path, tmp_path, **params)
    for words in says:
        assert words in message
    assert "more; `scident check`" not in message
    assert check.run(path, params).errors == [message.removeprefix(f"{path}: ")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"perturbation,g1\na,3\n", "not a readable h5ad file"),
        (b"", "not a readable h5ad file"),
    ],
    ids=["missing", "text", "empty"],
)
def test_no_h5ad_gives_one_sentence(content, says, tmp_path):
    path = tmp_path / "mine.h5ad"
    if content is not None:
        path.write_bytes(content)
    assert says in refused(path, tmp_path)


def test_folder_gives_one_sentence(tmp_path):
    assert "found a folder" in refused(tmp_path, tmp_path)


def test_half_a_file_gives_one_sentence(tmp_path):
    path = tmp_path / "mine.h5ad"
    cells().write_h5ad(path)
    path.write_bytes(path.read_bytes()[:5000])
    assert "not a readable h5ad file" in refused(path, tmp_path)


def test_other_hdf5_gives_one_sentence(tmp_path):
    path = tmp_path / "matrix.h5"
    with h5py.File(path, "w") as file:
        file["matrix/data"] = np.arange(3)
    assert "without the AnnData groups ['obs', 'var']" in refused(path, tmp_path)
