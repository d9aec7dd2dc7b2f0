"""What files between stages must hold."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from _cells import mapped
from scident import contracts
from scident.errors import ContractError


def truth(cells=6, factors=2, perts=3):
    return ad.AnnData(
        obs=pd.DataFrame(index=[f"c{i}" for i in range(cells)]),
        obsm={"z_true": np.ones((cells, factors))},
        uns={
            "shift": np.ones((perts, factors)),
            "targets": np.ones((perts, factors), bool),
            "perturbations": np.array([f"p{k}" for k in range(perts)], dtype=object),
        },
    )


def parts():
    return pd.DataFrame({"replicate": [0], "cell_id": ["c0"], "part": ["train"], "heldout": [False]})


def test_a_table_gets_its_types():
    found = contracts.check_table(parts().astype({"replicate": "int8"}), "parts")
    assert found["replicate"].dtype == np.int64


def test_a_sound_table_is_copied_as_it_is():
    sound = parts()
    found = contracts.check_table(sound, "parts")
    pd.testing.assert_frame_equal(found, contracts.TABLES["parts"].validate(sound))
    found.loc[0, "part"] = "val"
    assert sound.loc[0, "part"] == "train"


def test_numbers_in_a_column_of_text_become_text():
    found = contracts.check_table(pd.concat([parts(), parts().assign(cell_id=7)]), "parts")
    assert found["cell_id"].tolist() == ["c0", "7"]


@pytest.mark.parametrize(
    "broken",
    [
        parts().drop(columns="part"),
        parts().assign(more=1),
        parts()[["cell_id", "replicate", "part", "heldout"]],
        parts().assign(part="tset"),
        parts().assign(cell_id=None),
        parts()[:0].drop(columns="part"),
    ],
    ids=["missing column", "unknown column", "other order", "unknown part", "null", "missing column of no rows"],
)
def test_a_broken_table_is_refused(broken):
    with pytest.raises(ContractError, match="table 'parts' breaks its contract") as found:
        contracts.check_table(broken, "parts")
    assert "\n" not in str(found.value)


def test_every_score_row_carries_its_hashes():
    assert set(contracts.HASHES) <= set(contracts.TABLES["scores"].columns)


def test_small_unsigned_integers_are_counts():
    adata = mapped()
    adata.X = adata.X.astype(np.uint16)
    contracts.check_counts(adata)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf])
def test_counts_must_be_whole_finite_and_not_negative(form, value):
    adata = mapped()
    x = adata.X.copy()
    x[2, 1] = value
    adata.X = form(x)
    with pytest.raises(ContractError, match="X must hold counts"):
        contracts.check_counts(adata)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_sound_data_pass(form):
    adata = mapped()
    adata.X = form(adata.X)
    assert contracts.check_data(adata) is adata


def without(column):
    adata = mapped()
    del adata.obs[column]
    return adata


def as_text():
    adata = mapped()
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).astype(object)
    return adata


def with_genes_twice():
    adata = mapped()
    adata.var.index = ["g0", *adata.var_names[:-1]]
    return adata


def with_truth(place, key):
    adata = mapped()
    getattr(adata, place)[key] = np.zeros((adata.n_obs, 1))
    return adata


@pytest.mark.parametrize(
    ("adata", "says"),
    [
        (without("context"), r"obs of a data file lacks \['context'\]"),
        (without("is_control"), "is_control"),
        (as_text(), "must be categorical"),
        (with_genes_twice(), "must be unique"),
        (with_truth("obsm", "z_true"), "must not hold the truth"),
        (with_truth("uns", "shift"), "must not hold the truth"),
        (with_truth("uns", "world"), "must not hold the truth"),
    ],
)
def test_broken_data_are_refused(adata, says):
    with pytest.raises(ContractError, match=says):
        contracts.check_data(adata)


def real_valued(value=-0.5, kind="normal"):
    adata = mapped()
    adata.X[0, 0] = value
    adata.uns["observation"] = kind
    return adata


def test_expression_that_is_not_counts_says_so():
    assert contracts.observation(mapped()) == "counts"
    assert contracts.observation(contracts.check_data(real_valued())) == "normal"


@pytest.mark.parametrize(
    ("adata", "says"),
    [
        (real_valued(kind="counts"), "whole numbers"),
        (real_valued(value=np.nan), "finite"),
        (real_valued(kind="poisson"), "must be one of"),
    ],
)
def test_expression_must_be_what_it_says(adata, says):
    with pytest.raises(ContractError, match=says):
        contracts.check_data(adata)


def test_sound_truth_passes():
    found = truth()
    assert contracts.check_truth(found) is found


def test_truth_with_blocks_needs_no_shift():
    found = truth()
    del found.uns["shift"], found.uns["targets"]
    found.uns["blocks"] = np.array(["x", "t"], dtype=object)
    assert contracts.check_truth(found) is found
    found.uns["blocks"] = found.uns["blocks"][:1]
    with pytest.raises(ContractError, match="blocks names 1 columns, but z_true has 2"):
        contracts.check_truth(found)


@pytest.mark.parametrize(
    ("place", "key", "value", "says"),
    [
        ("obsm", "z_true", None, "lacks"),
        ("uns", "targets", None, "lacks"),
        ("uns", "shift", np.ones((3, 5)), "disagrees with itself"),
        ("uns", "shift", np.ones((4, 2)), "4 rows for 3 perturbations"),
        ("uns", "shift", np.full((3, 2), np.nan), "NaN or infinity"),
    ],
)
def test_broken_truth_is_refused(place, key, value, says):
    broken = truth()
    store = getattr(broken, place)
    if value is None:
        del store[key]
    else:
        store[key] = value
    with pytest.raises(ContractError, match=says):
        contracts.check_truth(broken)
