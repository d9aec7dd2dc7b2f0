from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from _cells import cells
from scident import contracts
from scident.datasets import h5ad
from scident.errors import DataError
from scident.stages.check import run as check

REAL = Path(__file__).parents[4] / "shared" / "data"


def saved(adata, tmp_path):
    path = tmp_path / "mine.h5ad"
    adata.write_h5ad(path)
    return str(path)


def loaded(adata, tmp_path, **params):
    return h5ad.load(h5ad.Params(path=saved(adata, tmp_path), **params), tmp_path)


def with_truth(order, tmp_path, as_table=False):
    """Eleven labels, whose text order is not their natural one, and latents around their shifts."""
    labels = [str(k) for k in range(11)]
    adata = cells(labels=labels, per_label=12)
    adata.obs["perturbation"] = pd.Categorical(adata.obs["perturbation"], categories=sorted(labels))
    shift = pd.DataFrame(np.random.default_rng(1).normal(0, 5, (11, 2)), index=labels)
    noise = np.random.default_rng(2).standard_normal((adata.n_obs, 2))
    adata.obsm["z"] = shift.loc[adata.obs["perturbation"].astype(str)].to_numpy() + noise
    rows = shift.loc[order]
    rows.columns = ["0", "1"]
    adata.uns["shift"] = rows if as_table else rows.to_numpy()
    return loaded(adata, tmp_path, truth={"z": "z", "shift": "shift"}), shift.to_numpy()


def test_load_keeps_counts_and_the_asked_columns_only(tmp_path):
    adata = cells(contexts=("x", "y"))
    adata.obsm["pca"] = np.ones((adata.n_obs, 2))
    adata.layers["log"] = np.log1p(adata.X)
    adata.uns["note"] = "secret"
    found = loaded(adata, tmp_path, context="line", batch="lane")
    contracts.check_data(found)
    assert list(found.obs) == ["perturbation", "is_control", "context", "batch"]
    assert not found.obsm
    assert not found.layers
    assert not found.uns
    np.testing.assert_array_equal(found.X, adata.X)
    assert found.obs["context"].astype(str).tolist() == adata.obs["line"].tolist()


def test_load_sorts_labels_naturally_and_marks_controls(tmp_path):
    found = loaded(cells(labels=("p10", "p2", "ctrl")), tmp_path, control="ctrl")
    assert list(found.obs["perturbation"].cat.categories) == ["ctrl", "p2", "p10"]
    assert found.obs["is_control"].sum() == 20
    assert found.obs["context"].astype(str).eq("all").all()


def test_load_drops_categories_without_cells(tmp_path):
    adata = cells()
    adata.obs["perturbation"] = pd.Categorical(adata.obs["perturbation"], categories=["control", "a", "b", "c", "gone"])
    assert "gone" not in loaded(adata, tmp_path).obs["perturbation"].cat.categories


def test_load_takes_a_missing_default_control_for_none(tmp_path):
    assert not loaded(cells(labels=("a", "b")), tmp_path).obs["is_control"].any()


def test_load_takes_numbers_as_labels(tmp_path):
    adata = cells(labels=("2", "10"))
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(int)
    assert list(loaded(adata, tmp_path).obs["perturbation"].cat.categories) == ["2", "10"]


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix])
def test_load_keeps_sparse_counts_sparse(form, tmp_path):
    adata = cells()
    wanted = adata.X.copy()
    adata.X = form(wanted)
    found = loaded(adata, tmp_path)
    assert found.X.format == "csr"
    np.testing.assert_array_equal(found.X.toarray(), wanted)


NATURAL = [str(k) for k in range(11)]


@pytest.mark.parametrize("order", [NATURAL, sorted(NATURAL)], ids=["natural", "categories"])
def test_load_finds_whose_row_each_shift_is(order, tmp_path):
    found, shift = with_truth(order, tmp_path)
    np.testing.assert_array_equal(found.uns["shift"], shift)


def test_load_reads_shifts_by_name_from_a_table(tmp_path):
    found, shift = with_truth(NATURAL[::-1], tmp_path, as_table=True)
    np.testing.assert_array_equal(found.uns["shift"], shift)


def test_load_counts_further_errors(tmp_path):
    adata = cells()
    adata.X[0, 0] = -1
    adata.obs.loc["c3", "perturbation"] = None
    with pytest.raises(DataError, match=r"negative values.*\(and 1 more; `scident check` lists all\)$"):
        loaded(adata, tmp_path)


@pytest.mark.parametrize(
    ("name", "perturbations", "controls", "contexts", "silent"),
    [
        ("papalexi2021_thp1_crispr_ko", 25, 1923, 1, 0),
        ("norman2019_k562_devel", 33, 100, 1, 250),
        ("mcfaline2023_gbm_crispri_devel", 9, 298, 3, 62),
        ("zhao2021_gbm_panobinostat", 1, 2500, 5, 0),
    ],
)
def test_real_screens_load_and_are_summarised(name, perturbations, controls, contexts, silent, tmp_path):
    path = REAL / f"{name}.h5ad"
    if not path.exists():
        pytest.skip(f"needs {path.name} in ../shared/data beside the repository")
    found = h5ad.load(h5ad.Params(path=str(path), control="control", context="covariate"), tmp_path)
    contracts.check_data(found)
    assert found.obs["is_control"].sum() == controls
    assert found.obs["perturbation"].cat.categories.size == perturbations + 1
    assert found.obs["context"].nunique() == contexts
    report = check(path, {"control": "control", "context": "covariate"})
    assert not report.errors
    assert bool(report.notes) == bool(silent)
    text = "\n".join(report.summary)
    assert f"{ad.read_h5ad(path, backed='r').n_obs:,}" in text
    assert f"perturbations       {perturbations}, cells of each" in text
    assert f"control cells       {controls:,} ('control')" in text


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_large_file_is_mapped_and_has_the_same_cells_as_in_memory(tmp_path, monkeypatch, dtype, compression):
    adata = cells(contexts=("x", "y"))
    adata.X = sparse.csr_matrix(adata.X.astype(dtype))
    adata.layers["log"] = adata.X
    adata.write_h5ad(tmp_path / "mine.h5ad", compression=compression)
    params = h5ad.Params(path=str(tmp_path / "mine.h5ad"), context="line")
    small, said = h5ad.load(params, tmp_path), check(Path(params.path), {"context": "line"}).text()
    monkeypatch.setattr("scident.mapped.LARGE", 0)
    monkeypatch.setattr("scident.mapped.ENTRIES", 100)
    large = contracts.check_data(h5ad.load(params, tmp_path))
    assert isinstance(large.X.data, np.memmap)
    np.testing.assert_array_equal(large.X.toarray(), small.X.toarray())
    pd.testing.assert_frame_equal(large.obs, small.obs)
    assert check(Path(params.path), {"context": "line"}).text() == said


@pytest.mark.parametrize(
    ("array", "place", "value"), [("indices", 3, 10**6), ("indices", 0, -1), ("indptr", -1, 7), ("indptr", 1, 10**6)]
)
def test_a_large_matrix_that_does_not_fit_together_is_refused(tmp_path, monkeypatch, array, place, value):
    adata = cells()
    adata.X = sparse.csr_matrix(adata.X)
    path = saved(adata, tmp_path)
    with h5py.File(path, "r+") as file:
        file["X"][array][place] = value
    monkeypatch.setattr("scident.mapped.LARGE", 0)
    with pytest.raises(DataError, match=r"mine\.h5ad: not a readable h5ad file \(the sparse X is damaged"):
        h5ad.read(Path(path))
