"""What the models and metrics are, and how far the headline values spread."""

from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from scident.report import style
from scident.report.tables import optional, to_html
from scident.report.view import Headline, Plan, Tables, headline_variant, shown_points

DECLARED = ("identifiability", "assumes", "likelihood", "source", "licence")
"""What a model says of itself, beside its role."""


def model_table(plan: Plan) -> Markup | None:
    """Return what each model claims, assumes and comes from; None where the plan does not say."""
    models = [model for model in plan["models"].values() if all(key in model for key in DECLARED)]
    if not models:
        return None
    rows = [
        {
            "label": Markup("{}{}").format(model["label"], _small(model.get("note", ""))),
            "role": escape(model["role"].replace("_", " ")),
            **{key: escape(model[key]) for key in DECLARED},
        }
        for model in models
    ]
    headings = ("Model", "Role", "Identifiable up to", "Assumes", "Likelihood", "Source", "Licence")
    return to_html(pd.DataFrame(rows), "models-table", dict(zip(rows[0], headings, strict=True)))


def notes_on(plan: Plan, models: list[str]) -> list[tuple[str, str]]:
    """Return (labels, note) of the models whose scores need a word; entries of one file share theirs."""
    labels: dict[str, list[str]] = {}
    for entry in (plan["models"][model] for model in models):
        if entry.get("note"):
            labels.setdefault(entry["note"], []).append(entry["label"])
    return [(", ".join(names), note) for note, names in labels.items()]


def spread_table(plan: Plan, found: Tables, heads: list[Headline]) -> Markup | None:
    """Return the sd of the headline between replicates and between seeds of one replicate, per model and scope."""
    rows: dict[str, dict[str, str]] = {}
    labels = {"model": "Model"}
    for head in heads:
        scope = head.place.scope
        labels |= {f"{scope}.units": f"sd over replicates<small>{style.SCOPES[scope]}</small>"}
        labels |= {f"{scope}.seeds": f"sd over seeds<small>{style.SCOPES[scope]}</small>"}
        summary = head.place.of(shown_points(found.summary, plan))
        variant = headline_variant(plan, head.metric, scope)
        summary = summary[(summary["metric"] == head.metric) & (summary["variant"] == variant)].set_index("model")
        spread = {kind: summary[f"sd_{kind}"].to_dict() for kind in ("units", "seeds")}
        for row in (row for row in head.rows if row.status == "ok"):
            cells = rows.setdefault(row.model, {"model": escape(row.label)})
            cells |= {f"{scope}.{kind}": optional(values[row.model], "{:.3f}") for kind, values in spread.items()}
    if not rows:
        return None
    frame = pd.DataFrame(list(rows.values()), columns=list(labels)).fillna("")
    return to_html(frame, f"spread-{heads[0].place.slug}", labels)


def metric_cards(plan: Plan) -> list[dict[str, Any]]:
    """Return what the page says of each metric."""
    cards = []
    for name, metric in plan["metrics"].items():
        low, high = (str(end).replace("inf", "∞").replace("-", "−") for end in metric["range"])
        card = {key: metric[key] for key in ("label", "formula", "source")}
        ends = {"no_skill": metric["no_skill"], "ceiling": metric["ceiling"]}
        known = {key: "" if value is None else f"{value:g}" for key, value in ends.items()}
        cards.append({**card, **known, "name": name, "better": metric["better"], "range": f"{low} to {high}"})
    return cards


def _small(text: str) -> Markup:
    return Markup("<small>{}</small>").format(text) if text else Markup("")
