import numpy as np
import pandas as pd
import pytest

from scident import registry
from scident.datasets import _labels
from scident.info import Columns


@pytest.mark.parametrize(
    ("name", "label", "clean"),
    [
        ("norman2019", "AHR_KLF1", "AHR+KLF1"),
        ("norman2019", "control", "control"),
        ("papalexi2021", "STAT5Ag2", "STAT5A"),
        ("papalexi2021", "NTg4", "control"),
        ("papalexi2021", "control", "control"),
        ("adamson2016", "SRP68_pDS033", "SRP68"),
        ("adamson2016", "Gal4-4(mod)_pBA582", "control"),
        ("adamson2016", "62(mod)_pBA581", "control"),
        ("adamson2016", "*", ""),
        ("dixit2016", "p_sgELK1_2", "ELK1"),
        ("dixit2016", "p_sgGABPA_1 + p_sgELK1_2", "ELK1+GABPA"),
        ("dixit2016", "p_sgELK1_1 + p_sgELK1_2", "ELK1"),
        ("dixit2016", "p_INTERGENIC393453 + p_sgELK1_2", "ELK1"),
        ("dixit2016", "p_INTERGENIC393453", "control"),
        ("dixit2016", "control", ""),  # no guide was called
    ],
)
def test_relabel_cleans_the_labels_of_a_dataset(name, label, clean):
    assert registry.load("datasets", name).LAYOUT.relabel(label) == clean


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("24", 24),
        ("24hr", 24),
        ("2.5 µM", 2.5),
        (10.0, 10),
        ("1e-3", 0.001),
        ("nan", np.nan),
        (None, np.nan),
        ("h24", np.nan),
    ],
)
def test_numbers_are_read_with_their_units(text, number):
    np.testing.assert_equal(_labels.numbers(pd.Series([text]))[0], number)


def names(index, columns=None, **var):
    return list(_labels.gene_names(pd.DataFrame(var, index=index), columns or Columns()))


def test_gene_names_carry_an_identifier_where_a_symbol_repeats():
    assert names(["A", "B", "A"], ensembl_id=["E1", "E2", "E3"]) == ["A_E1", "B", "A_E3"]
    assert names(["E1", "E2", "E3"], Columns(gene=("gene_name",)), gene_name=["A", "B", "A"]) == ["A_E1", "B", "A_E3"]
    assert names(["A", "A"]) == ["A", "A"]


def test_clean_marks_cells_of_which_something_is_not_known():
    obs = pd.DataFrame(
        {
            "perturbation": ["control", "a", " ", "None", "a", "a", "b"],
            "line": ["x", None, "x", "x", "y", "y", "y"],
            "dose": [None, 1, 1, 1, None, 0, 2.5],
        }
    )
    claims = []
    columns = Columns(context=("line",), dose=("dose",), batch=("lane", "plate"))
    cells = _labels.clean(obs, columns, str, lambda claim, sentence: claims.append((claim, sentence)))
    assert cells["perturbation"].tolist() == ["control", "", "", "", "", "control", "b"]
    assert cells["is_control"].tolist() == [True, False, False, False, False, True, False]
    assert cells["dose"].tolist()[::5] == [0, 0]
    assert claims == [
        ("batch", "obs has no column 'lane' or 'plate' for the batch, found ['perturbation', 'line', 'dose']")
    ]
