"""Paired differences in words and tables: variants against the model they vary, predictions against the additive."""

import pandas as pd
from markupsafe import Markup

from scident.aggregate.contrasts import ADDITIVE, PANEL, bases_of
from scident.report import style
from scident.report.tables import to_html
from scident.report.view import Place, Plan, Tables, headline_variant, shown_points


def variants(plan: Plan, found: Tables, place: Place) -> Markup | None:
    """Return what each variant of a model gains over it in every directed metric; None without a variant."""
    bases = bases_of(plan)
    rows = _whole(place.of(found.differences))
    rows = rows[(rows["model"].map(bases.get) == rows["reference"]) & (rows["variant"] == rows["reference_variant"])]
    columns = [(m, v) for m, v in _columns(plan, place) if ((rows["metric"] == m) & (rows["variant"] == v)).any()]
    if not columns:
        return None
    table = []
    for model in (m for m in plan["models"] if m in set(rows["model"])):
        own = rows[rows["model"] == model]
        label = Markup("{}<small>minus {}</small>").format(_label(plan, model), _label(plan, bases[model]))
        cells = {f"{m}.{v}": _cell(own[(own["metric"] == m) & (own["variant"] == v)]) for m, v in columns}
        table.append({"model": label, **cells})
    labels = {"model": "Variant"} | {f"{m}.{v}": _heading(plan, m, v) for m, v in columns}
    return to_html(pd.DataFrame(table), f"variants-{place.slug}", labels)


def predictions(plan: Plan, found: Tables, place: Place) -> Markup | None:
    """Return every kind of prediction in every metric that reads predictions, with its difference to the additive."""
    metrics = [name for name, declared in plan["metrics"].items() if "predictions" in declared["needs"]]
    summary = place.of(shown_points(found.summary, plan))
    summary = summary[summary["metric"].isin(metrics) & (summary["status"] == "ok")]
    if summary.empty:
        return None
    differences = _whole(place.of(found.differences))
    differences = differences[
        differences["reference"].isin([n for n, m in plan["models"].items() if m["use"] == ADDITIVE])
    ]
    summary = summary.assign(kind=summary["variant"].map(_kind), panel=summary["variant"].map(_panel))
    columns = list(
        dict.fromkeys((m, p) for m in metrics for p in sorted(set(summary[summary["metric"] == m]["panel"])))
    )
    table = []
    for model in (m for m in plan["models"] if m in set(summary["model"])):
        for kind in (k for k in KINDS if k in set(summary.loc[summary["model"] == model, "kind"])):
            own = summary[(summary["model"] == model) & (summary["kind"] == kind)]
            row = {"model": Markup("{}<small>{}</small>").format(_label(plan, model), KINDS[kind])}
            for metric, panel in columns:
                level = own[(own["metric"] == metric) & (own["panel"] == panel)]
                if level.empty:
                    row[f"{metric}.{panel}"] = Markup("")
                    continue
                variant = level["variant"].iloc[0]
                pair = differences[(differences["model"] == model) & (differences["metric"] == metric)]
                row[f"{metric}.{panel}"] = _level(level) + _against(pair[pair["variant"] == variant])
            table.append(row)
    labels = {"model": "Model"} | {f"{m}.{p}": _heading(plan, m, PANELS[p]) for m, p in columns}
    return to_html(pd.DataFrame(table), f"predictions-{place.slug}", labels)


KINDS = {
    "": "condition mean",
    "counterfactual": "P2: counterfactual, from control cells",
    "label_only": "P3: from labels alone",
    "reconstruction": "P1: reconstruction of the scored cells, no prediction",
}
"""Kind of prediction -> its name, in reading order."""
PANELS = {"": "all genes", PANEL: "50 genes that change most"}


def _kind(variant: str) -> str:
    return variant.removesuffix(PANEL).removesuffix(":")


def _panel(variant: str) -> str:
    return PANEL if variant.endswith(PANEL) else ""


def _whole(differences: pd.DataFrame) -> pd.DataFrame:
    return differences[differences["perturbation"].isna()]


def _columns(plan: Plan, place: Place) -> list[tuple[str, str]]:
    """Return the directed metrics, each by the variants a table shows."""
    found = []
    for name, declared in plan["metrics"].items():
        if declared["better"] in {"higher", "lower"}:
            found += [(name, v) for v in declared["shown"] or [headline_variant(plan, name, place.scope)]]
    return found


def _label(plan: Plan, model: str) -> str:
    return str(plan["models"][model]["label"])


def _heading(plan: Plan, metric: str, variant: str) -> Markup:
    declared = plan["metrics"][metric]
    small = Markup("<small>{}</small>").format(variant) if variant else ""
    return Markup("{} {}{}").format(declared["label"], style.ARROWS[declared["better"]], small)


def _cell(rows: pd.DataFrame) -> Markup:
    if rows.empty:
        return Markup("")
    row = rows.iloc[0]
    small = style.signed_interval(row["low"], row["high"]) if pd.notna(row["low"]) else "one replicate"
    return Markup("{}<small>{}</small>").format(style.signed(row["difference"]), small)


def _level(rows: pd.DataFrame) -> Markup:
    return Markup("{}").format(style.number(rows["mean"].iloc[0]))


def _against(rows: pd.DataFrame) -> Markup:
    if rows.empty:
        return Markup("")
    row = rows.iloc[0]
    known = f" {style.signed_interval(row['low'], row['high'])}" if pd.notna(row["low"]) else ""
    return Markup("<small>{}{}</small>").format(style.signed(row["difference"]), known)
