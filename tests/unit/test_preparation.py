"""Good cells and variable genes, in closed form and against the definition."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scident import mapped, preparation
from scident.params import Preparation


def cells_of(counts, genes=None):
    names = [f"g{j}" for j in range(np.shape(counts)[1])] if genes is None else genes
    return ad.AnnData(np.asarray(counts, dtype=np.float32), var=pd.DataFrame(index=names))


def screen(cells=300, genes=200, seed=0):
    """Means over three orders of magnitude, every tenth gene varies more than its like."""
    rng = np.random.default_rng(seed)
    mean = np.exp(rng.uniform(-3, 4, genes))
    mean[0] = 0.0
    rate = np.tile(mean, (cells, 1))
    rate[:, ::10] *= rng.gamma(0.5, 2.0, (cells, len(mean[::10])))
    return cells_of(rng.poisson(rate))


@pytest.fixture(params=["dense", "csr", "uint16", "blocks"])
def form(request, monkeypatch):
    """Return a function that stores counts in another way."""
    if request.param == "blocks":
        monkeypatch.setattr(preparation, "ROWS", 7)

    def stored(cells):
        if request.param != "dense":
            cells.X = sparse.csr_matrix(cells.X)
        if request.param == "uint16":
            cells.X = cells.X.astype(np.uint16)
        return cells

    return stored


COUNTS = [[5, 5, 0, 0], [1, 0, 0, 0], [0, 1, 8, 1], [3, 3, 3, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("wanted", "good"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"min_counts": 10}, [1, 0, 1, 1, 0]),
        ({"min_counts": 11}, [0, 0, 0, 0, 0]),
        ({"min_genes": 2}, [1, 0, 1, 1, 0]),
        ({"min_genes": 3}, [0, 0, 1, 1, 0]),
        ({"max_mito": 0.8}, [1, 1, 0, 1, 1]),
        ({"max_mito": 0.0}, [1, 1, 0, 0, 1]),
        ({"max_mito": 0.5, "min_counts": 1}, [1, 1, 0, 1, 0]),
    ],
)
def test_a_cell_is_judged_by_its_own_counts(form, wanted, good):
    cells = form(cells_of(COUNTS, ["a", "b", "MT-CO1", "MT-ND1"]))
    assert preparation.good_cells(cells, Preparation(**wanted)).tolist() == list(map(bool, good))


def test_names_that_merely_hold_mt_are_not_mitochondrial():
    cells = cells_of([[1, 9, 9]], ["a", "MTOR", "AMT-1"])
    assert preparation.good_cells(cells, Preparation(max_mito=0)).all()


def test_the_table_is_that_of_the_definition(form):
    cells, rows = screen(), np.arange(0, 300, 2)
    found = preparation.gene_table(form(cells.copy()), rows)
    x = cells.X[rows].astype(np.float64)
    assert found["cells"].tolist() == (x > 0).sum(0).tolist()
    scaled = pd.DataFrame(x / x.sum(1, keepdims=True) * 1e4)
    known = scaled.columns[scaled.mean() > 0]
    assert (found["dispersion"].to_numpy()[~scaled.columns.isin(known)] == -np.inf).all()
    ratio = np.log(scaled[known].var() / scaled[known].mean())
    bins = pd.cut(np.log1p(scaled[known].mean()), preparation.BINS)
    for _, own in ratio.groupby(bins, observed=True):
        wanted = (own - own.mean()) / own.std() if len(own) > 1 else own * 0 + 1
        np.testing.assert_allclose(found["dispersion"].iloc[own.index], wanted, rtol=1e-6, atol=1e-9)


def test_genes_that_vary_more_than_their_like_are_chosen():
    chosen = preparation.variable(preparation.gene_table(screen(2000), np.arange(2000)), Preparation(top_genes=15))
    assert len(chosen) == 15
    assert (np.diff(chosen) > 0).all()
    # gene 0 has no counts; of the 19 others that vary, those of few counts hide in the noise of counting
    assert (chosen % 10 == 0).sum() >= 12
    assert 0 not in chosen


def test_depth_of_the_cells_does_not_matter():
    cells, rng = screen(), np.random.default_rng(1)
    deeper = cells_of(cells.X * rng.integers(1, 5, (300, 1)))
    one, other = (preparation.gene_table(c, np.arange(300)) for c in (cells, deeper))
    pd.testing.assert_frame_equal(one, other)


def test_genes_in_few_cells_are_left_out_and_the_rest_kept():
    cells = cells_of([[1, 0, 2], [1, 0, 0], [1, 1, 0]])
    table = preparation.gene_table(cells, np.arange(3))
    assert preparation.variable(table, Preparation(min_cells=1)).tolist() == [0, 1, 2]
    assert preparation.variable(table, Preparation(min_cells=2)).tolist() == [0]
    assert preparation.variable(preparation.gene_table(cells, np.arange(2)), Preparation(min_cells=1)).tolist() == [
        0,
        2,
    ]
    assert len(preparation.variable(table, Preparation(top_genes=7))) == 3


def test_columns_of_a_mapped_matrix_are_those_asked_for(monkeypatch):
    monkeypatch.setattr(mapped, "ROWS", 7)
    x = sparse.csr_matrix(screen().X)
    genes = np.array([0, 3, 50, 199])
    found = mapped.columns(x, genes)
    assert isinstance(found.data, np.memmap)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found.toarray(), x.toarray()[:, genes])
