"""What each file between two stages must hold: checked when it is read, a table also when it is written."""

from collections.abc import Iterable
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pandera.pandas as pa
from scipy import sparse

from scident import mapped
from scident.errors import ContractError

PARTS = ("train", "val", "fit", "score", "heldout_fit", "heldout_score", "unused")
LONGEST = 300
"""Characters of a table's fault that reach the message."""

MEMBER_ROLES = r"^(member|heldout_validation)$"
RETRAINED = r"^(no|ok|failed:.*)$"
STATUSES = r"^(ok|not_applicable|failed)$"
HASHES = ("hash_data", "hash_split", "hash_config", "hash_code")


def _table(**columns: pa.Column) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(dict(columns), strict=True, ordered=True, coerce=True)


def _text(nullable: bool = False, **checks: str) -> pa.Column:
    return pa.Column(str, nullable=nullable, checks=[pa.Check.str_matches(p) for p in checks.values()])


def _number(nullable: bool = False) -> pa.Column:
    return pa.Column("float64", nullable=nullable)


TABLES: dict[str, pa.DataFrameSchema] = {
    "parts": _table(
        replicate=pa.Column("int64"),
        cell_id=_text(),
        part=pa.Column(str, pa.Check.isin(PARTS)),
        heldout=pa.Column(bool),
    ),
    "members": _table(
        member=_text(),
        replicate=pa.Column("int64"),
        grid_point=_text(),
        seed=pa.Column("int64"),
        fitted_as=_text(),
        params=_text(),
        status=_text(matches=STATUSES),
        reason=_text(),
        epochs=pa.Column("int64"),
        role=_text(matches=MEMBER_ROLES),
        retrained=_text(matches=RETRAINED),
    ),
    "history": _table(
        member=_text(), epoch=pa.Column("int64"), phase=_text(), quantity=_text(), value=_number(nullable=True)
    ),
    "targets": _table(
        perturbation=_text(), latent=pa.Column("int64"), score=_number(), on=pa.Column(bool), source=_text()
    ),
    "likelihood": _table(
        cell_id=_text(), protocol=_text(), nelbo=_number(nullable=True), iwelbo=_number(nullable=True)
    ),
    "scores": _table(
        dataset=_text(),
        replicate=pa.Column("int64"),
        split=_text(),
        scope=_text(),
        model=_text(),
        grid_point=_text(),
        seed=pa.Column("Int64", nullable=True),
        metric=_text(),
        variant=_text(),
        perturbation=_text(nullable=True),
        value=_number(nullable=True),
        se=_number(nullable=True),
        n=pa.Column("int64"),
        status=_text(matches=STATUSES),
        reason=_text(),
        **{name: _text() for name in HASHES},
    ),
    "summary": _table(
        dataset=_text(),
        split=_text(),
        scope=_text(),
        model=_text(),
        grid_point=_text(),
        metric=_text(),
        variant=_text(),
        mean=_number(nullable=True),
        low=_number(nullable=True),
        high=_number(nullable=True),
        sd_units=_number(nullable=True),
        sd_seeds=_number(nullable=True),
        units=pa.Column("int64"),
        interval=_text(),
        n_ok=pa.Column("int64"),
        n_total=pa.Column("int64"),
        status=_text(matches=STATUSES),
        reason=_text(),
    ),
    "ranks": _table(
        dataset=_text(),
        split=_text(),
        scope=_text(),
        metric=_text(),
        variant=_text(),
        best=_text(),
        other=_text(),
        units=pa.Column("int64"),
        difference=_number(nullable=True),
        low=_number(nullable=True),
        high=_number(nullable=True),
        effect=_number(nullable=True),
        test=_text(),
        p=_number(nullable=True),
        p_holm=_number(nullable=True),
        verdict=_text(),
    ),
    "aligned": _table(
        dataset=_text(),
        split=_text(),
        model=_text(),
        grid_point=_text(),
        seed=pa.Column("int64"),
        perturbation=_text(),
        factor=pa.Column("int64"),
        score=_number(),
        on=pa.Column(bool),
        true=pa.Column(bool),
        source=_text(),
    ),
    "curves": _table(
        dataset=_text(),
        split=_text(),
        model=_text(),
        member=_text(),
        epoch=pa.Column("int64"),
        phase=_text(),
        quantity=_text(),
        value=_number(nullable=True),
    ),
    "selected": _table(
        dataset=_text(),
        split=_text(),
        model=_text(),
        rule=_text(),
        replicate=pa.Column("int64"),
        grid_point=_text(),
        score=_number(nullable=True),
        regret=_number(nullable=True),
        regret_f1=_number(nullable=True),
        range=_number(nullable=True),
        default=pa.Column(bool),
        n_points=pa.Column("int64"),
    ),
    "grid": _table(
        dataset=_text(),
        split=_text(),
        model=_text(),
        replicate=pa.Column("int64"),
        grid_point=_text(),
        criterion=_text(),
        value=_number(),
    ),
    "differences": _table(
        dataset=_text(),
        split=_text(),
        scope=_text(),
        metric=_text(),
        model=_text(),
        variant=_text(),
        reference=_text(),
        reference_variant=_text(),
        perturbation=_text(nullable=True),
        units=pa.Column("int64"),
        difference=_number(),
        low=_number(nullable=True),
        high=_number(nullable=True),
    ),
    "costs": _table(
        stage=_text(),
        dataset=_text(),
        split=_text(),
        model=_text(),
        shard=pa.Column("int64"),
        members=pa.Column("int64"),
        status=_text(matches=STATUSES),
        wall_s=_number(nullable=True),
        cpu_s=_number(nullable=True),
        peak_rss_mb=_number(nullable=True),
        cells_per_s=_number(nullable=True),
        n_params=_number(nullable=True),
    ),
}
"""Every table between stages, by its name in design.md."""


def check_table(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return `frame` with the dtypes of the table `name`.

    Raises
    ------
    ContractError
        A column is missing, unknown, in the wrong order or holds a forbidden value.
    """
    schema = TABLES[name]
    if list(frame.columns) == list(schema.columns):
        if frame.empty:
            return frame.astype(
                {key: "object" if _is_text(column) else str(column.dtype) for key, column in schema.columns.items()}
            )
        if all(_sound(frame[key], column) for key, column in schema.columns.items()):
            return frame.copy()
    try:
        return schema.validate(frame)
    except (pa.errors.SchemaError, pa.errors.SchemaErrors) as error:
        found = str(error).splitlines()[0]
        found = found if len(found) <= LONGEST else f"{found[:LONGEST]} …"
        raise ContractError(f"table {name!r} breaks its contract: {found}") from error


def _is_text(column: pa.Column) -> bool:
    return str(column.dtype) == "str"


def _sound(values: "pd.Series[Any]", column: pa.Column) -> bool:
    """Say whether a column keeps its contract, type included, as nearly all do.

    Pandera, which mends types and says what is wrong, takes a hundred times longer: it is asked about all others.
    """
    text = values.dtype == object and _is_text(column)
    if text and pd.api.types.infer_dtype(values, skipna=True) not in {"string", "empty"}:
        return False
    if not text and str(values.dtype) != str(column.dtype):
        return False
    if not column.nullable and values.isna().any():
        return False
    kinds = pd.Series(values.unique()).dropna() if column.checks else ()  # every check looks at one value at a time
    return not len(kinds) or all(bool(check(kinds).check_passed) for check in column.checks)


OBS_COLUMNS = ("perturbation", "is_control", "context", "dose", "batch")
"""Columns of obs that models may see, the last two where a dataset has them; no other column leaves the data stage."""


def _need(found: Iterable[str], wanted: Iterable[str], what: str) -> None:
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise ContractError(f"{what} lacks {missing}; found {sorted(found)}")


OBSERVATIONS = ("counts", "normal")
"""What X may hold: UMI counts, or real numbers on the scale of log-expression."""


def observation(adata: ad.AnnData) -> str:
    """Return what X holds, counts or normal: as ``uns["observation"]`` says, counts where it says nothing."""
    return str(adata.uns.get("observation", "counts"))


def check_counts(adata: ad.AnnData) -> None:
    """Refuse an expression matrix that does not hold finite non-negative whole numbers."""
    values = _values(adata)
    if values.dtype.kind == "u":  # cannot be anything else, and a large file is not read through for it
        return
    if not all(_whole(piece) for piece in mapped.pieces(values)):
        raise ContractError("X must hold counts: finite whole numbers, none below 0")


def _whole(values: np.ndarray) -> bool:
    if values.dtype.kind == "u":
        return True
    return bool(np.isfinite(values).all() and (values >= 0).all() and (values == np.round(values)).all())


def _values(adata: ad.AnnData) -> np.ndarray:
    return adata.X.data if sparse.issparse(adata.X) else np.asarray(adata.X)


def _check_expression(adata: ad.AnnData) -> None:
    kind = observation(adata)
    if kind not in OBSERVATIONS:
        raise ContractError(f"uns['observation'] must be one of {OBSERVATIONS}, found {kind!r}")
    if kind == "counts":
        check_counts(adata)
    elif not all(np.isfinite(piece).all() for piece in mapped.pieces(_values(adata))):
        raise ContractError("X must hold finite numbers")


def check_data(adata: ad.AnnData) -> ad.AnnData:
    """Check a dataset replicate: X as `observation` says; obs perturbation (categorical), is_control, context."""
    _need(adata.obs.columns, ("perturbation", "is_control", "context"), "obs of a data file")
    if not isinstance(adata.obs["perturbation"].dtype, pd.CategoricalDtype):
        raise ContractError("obs['perturbation'] of a data file must be categorical, so that its K names have an order")
    if not (adata.obs_names.is_unique and adata.var_names.is_unique):
        raise ContractError("cell names and gene names of a data file must be unique")
    truth = [f"obsm[{k!r}]" for k in adata.obsm if "true" in k] + [f"uns[{k!r}]" for k in adata.uns if k in TRUTH_KEYS]
    if truth:
        raise ContractError(f"a data file must not hold the truth, found {truth}")
    _check_expression(adata)
    return adata


TRUTH_KEYS = ("shift", "targets", "world", "blocks")


def check_truth(truth: ad.AnnData) -> ad.AnnData:
    """Check a truth file: obsm z_true (cells × factors), uns shift and targets (perts × factors) or blocks, finite."""
    _need(truth.obsm, ("z_true",), "obsm of a truth file")
    _need(truth.uns, ("perturbations",), "uns of a truth file")
    z = np.asarray(truth.obsm["z_true"])
    if z.ndim != 2 or not np.isfinite(z).all():
        raise ContractError(f"z_true must be finite, cells × factors; found shape {z.shape}")
    if "blocks" in truth.uns and len(truth.uns["blocks"]) != z.shape[1]:
        raise ContractError(f"blocks names {len(truth.uns['blocks'])} columns, but z_true has {z.shape[1]}")
    if "blocks" not in truth.uns or "shift" in truth.uns:
        _check_shift(truth, z.shape[1])
    return truth


def _check_shift(truth: ad.AnnData, factors: int) -> None:
    _need(truth.uns, ("shift", "targets"), "uns of a truth file")
    shift = np.asarray(truth.uns["shift"])
    if shift.ndim != 2 or shift.shape[1] != factors:
        raise ContractError(f"truth disagrees with itself: z_true has {factors} columns, shift is {shift.shape}")
    if len(truth.uns["perturbations"]) != len(shift):
        raise ContractError(f"shift has {len(shift)} rows for {len(truth.uns['perturbations'])} perturbations")
    if not np.isfinite(shift).all():
        raise ContractError("truth holds NaN or infinity")
