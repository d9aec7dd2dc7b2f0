"""Labels of a published file in the words of the data contract."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from scident.errors import DataError
from scident.info import Columns

MISSING = ("", "nan", "none", "na", "<na>", "null")
"""How files say that a label is missing, in lower case."""


def clean(
    obs: pd.DataFrame, columns: Columns, relabel: Callable[[str], str], judge: Callable[[str, str], None]
) -> pd.DataFrame:
    """Return perturbation, is_control, context and, where the file has them, dose and batch of all cells.

    Parameters
    ----------
    obs
        The file's table of cells.
    columns
        What it calls them.
    relabel
        From a label in the file to a clean one, empty for none.
    judge
        Told of a column that is not there.

    Returns
    -------
    Text, bool and, for dose, numbers (0 for controls); an empty perturbation marks a cell of which perturbation,
    context or dose is not known. A treated cell of dose 0 is a control.

    Raises
    ------
    DataError
        There are no perturbations, no labels or no controls; a dose is negative.
    """
    raw = _text(obs[_column(obs, "perturbation", columns.perturbation, judge)])
    clean_of = {label: relabel(label) for label in raw.unique() if label}
    label = raw.map(clean_of).fillna("")
    cells = pd.DataFrame({"perturbation": label, "is_control": label == columns.control, "context": "all"})
    context = _column(obs, "context", columns.context, judge)
    if context:
        cells["context"] = _text(obs[context])
        cells.loc[cells["context"] == "", "perturbation"] = ""
    dose = _column(obs, "dose", columns.dose, judge)
    if dose:
        _add_dose(cells, obs[dose], dose, columns.control)
    batch = _column(obs, "batch", columns.batch, judge)
    if batch:
        cells["batch"] = _text(obs[batch]).replace("", "unknown")
    _demand_controls(cells["perturbation"], columns.control, judge)
    return cells


def numbers(column: pd.Series) -> "pd.Series[float]":
    """Read numbers, also such as ``24hr`` and ``10 nM``; NaN where there is none."""
    text = column.astype(str).str.extract(r"^\s*(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)", expand=False)
    found: pd.Series[float] = pd.to_numeric(text, errors="coerce").astype(np.float64)
    return found


def gene_names(var: pd.DataFrame, columns: Columns) -> pd.Index:
    """Return gene symbols; one that occurs several times carries its identifier, as in ``TBCE_ENSG00000284770``."""
    column = next((name for name in columns.gene if name in var), None)
    symbols: pd.Series[str] = pd.Series(var.index if column is None else var[column].astype(str).to_numpy())
    ids = next((name for name in ("ensembl_id", "ensemble_id", "gene_id") if name in var), None)
    if ids is not None or column is not None:
        identifier = pd.Series(var.index if ids is None else var[ids].astype(str).to_numpy())
        symbols = symbols.mask(symbols.duplicated(keep=False), symbols + "_" + identifier)
    return pd.Index(symbols)


def _column(obs: pd.DataFrame, role: str, names: tuple[str, ...], judge: Callable[[str, str], None]) -> str:
    """Return the first of the names that is a column of obs, empty if there is none and it need not be."""
    found = next((name for name in names if name in obs), "")
    if names and not found:
        known = [str(name) for name in obs.columns]
        sentence = f"obs has no column {' or '.join(map(repr, names))} for the {role}, found {known}"
        if role == "perturbation":
            raise DataError(f"{sentence}; get the published file")
        judge(role, sentence)
    return found


def _text(column: pd.Series) -> pd.Series:
    """Return labels as text, empty where they are missing."""
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    return text.mask(text.str.lower().isin(MISSING), "")


def _add_dose(cells: pd.DataFrame, column: pd.Series, name: str, control: str) -> None:
    dose = numbers(column)
    if (dose < 0).any():
        raise DataError(f"obs[{name!r}] holds the dose {dose.min():g}, and none can be below 0")
    treated = (cells["perturbation"] != "") & ~cells["is_control"]
    if treated.any() and dose[treated].isna().all():
        raise DataError(f"obs[{name!r}] holds no number for any treated cell, but {str(column[treated].iloc[0])!r}")
    cells.loc[treated & (dose == 0), "perturbation"] = control
    cells["is_control"] = cells["perturbation"] == control
    cells.loc[treated & dose.isna(), "perturbation"] = ""
    cells["dose"] = dose.where(~cells["is_control"], 0.0)


def _demand_controls(label: pd.Series, control: str, judge: Callable[[str, str], None]) -> None:
    labels = sorted(set(label) - {""})
    if len(labels) < 2:
        found = f"the single label {labels[0]!r}" if labels else "no label"
        raise DataError(f"cells have {found}, and there is nothing to compare; get the published file")
    if control not in labels:
        shown = ", ".join(map(repr, labels[:5])) + (", …" if len(labels) > 5 else "")
        judge("control", f"no cell has the control label {control!r}, found {len(labels):,} labels ({shown})")
