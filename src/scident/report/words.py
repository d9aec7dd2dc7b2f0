"""The answer in sentences, made from the numbers: which method is best, and whether that is certain."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from scident.aggregate.ranks import CLAIM_FROM, RANKED_ROLES
from scident.aggregate.units import predicts
from scident.report import style
from scident.report.view import Headline, Plan, Row, Tables, headline_variant

CERTAIN, PROVISIONAL, OPEN = "certain", "provisional", "open"
"""How sure a ranking is; also the badge's CSS class."""


@dataclass(frozen=True)
class Answer:
    """What one place says."""

    where: str
    level: str
    badge: str
    text: Markup


def answer(plan: Plan, tables: Tables, head: Headline) -> Answer:
    """Put the headline of one place into words."""
    where = style.SCOPES[head.place.scope]
    where = where[0].upper() + where[1:]
    candidates = [row for row in head.rows if row.role in RANKED_ROLES and row.status == "ok"]
    if not candidates:
        return Answer(where, OPEN, "no result", Markup("No method has a result here; the failures are listed below."))
    if not plan["datasets"][head.place.dataset]["has_truth"] and not of_responses(plan, head):
        return Answer(where, OPEN, "no ranking claim", _blind(plan, head, candidates))
    ranks = head.place.of(tables.ranks)
    variant = headline_variant(plan, head.metric, head.place.scope)
    ranks = ranks[(ranks["metric"] == head.metric) & (ranks["variant"] == variant)]
    best = head.row(str(ranks["best"].iloc[0])) if len(ranks) else candidates[0]
    extreme = "highest" if head.better == "higher" else "lowest"
    lead = Markup("<b>{} has the {} {}: {}</b>{}.").format(
        best.label, extreme, head.label, _value(best), _between(best, head)
    )
    level, badge, certainty = _certainty(plan, head, ranks)
    return Answer(where, level, badge, Markup(" ").join(part for part in (lead, certainty, _lost(head)) if part))


def compares_seeds(plan: Plan, head: Headline) -> bool:
    """Whether the headline is about the agreement of trainings."""
    return bool(plan["metrics"][head.metric]["over"] == "seeds")


def of_responses(plan: Plan, head: Headline) -> bool:
    """Whether the headline is about predicted responses."""
    return predicts(plan, head.metric)


def kind(plan: Plan, head: Headline) -> str:
    """Return what a headline is about: agreement of seeds, responses, or anything else."""
    return "agreement" if compares_seeds(plan, head) else "responses" if of_responses(plan, head) else ""


def fully_separated(ranks: pd.DataFrame) -> bool:
    """Whether the best is separated from every method that is ranked (rows of one metric in one place)."""
    ranked = ranks[~ranks["verdict"].str.startswith("not ranked")]
    return len(ranked) > 0 and bool(ranked["verdict"].str.startswith("separated").all())


def _value(row: Row) -> str:
    spread = f" {style.interval(row.low, row.high)}" if np.isfinite(row.low) else ""
    return style.number(row.mean) + spread


def _between(best: Row, head: Headline) -> str:
    if best.model == head.floor_model:
        above = f" (ceiling {style.number(head.ceiling)})" if np.isfinite(head.ceiling) else ""
        return f", and it needs no training: it is the floor{above}, and no trained model is above it"
    ends = [f"floor {style.number(head.floor)} ({head.floor_label})"] if np.isfinite(head.floor) else []
    ends += [f"ceiling {style.number(head.ceiling)}"] if np.isfinite(head.ceiling) else []
    if len(ends) < 2:
        return f" ({ends[0]})" if ends else ""
    if (head.ceiling - head.floor) * (1 if head.better == "higher" else -1) <= 0:
        return f" ({'; '.join(ends)}, not above the floor: with so few cells there is nothing to tell apart)"
    if any(row.mean == head.ceiling and row.low <= head.floor <= row.high for row in head.rows):
        return f" ({'; '.join(ends)}, whose interval holds the floor: these cells do not tell a good model from none)"
    share = (best.mean - head.floor) / (head.ceiling - head.floor)
    told = f"{100 * share:.0f} % of the way from floor to ceiling" if share > 0 else "not above the floor"
    return f", {told} ({'; '.join(ends)})"


def _certainty(plan: Plan, head: Headline, ranks: pd.DataFrame) -> tuple[str, str, str]:
    if head.units < 2:
        return (
            OPEN,
            "no ranking claim",
            "There is one replicate: the spread is over training seeds only, so no ranking.",
        )
    ranked = ranks[ranks["units"] > 0]
    if ranked.empty:
        return OPEN, "no ranking claim", "Nothing else could be ranked beside it."
    n = int(ranked["units"].min())
    if ranked["verdict"].str.startswith("no claim").any():
        few = f"With {style.plural(n, 'replicate')} no ranking is claimed ({CLAIM_FROM} are needed)."
        return OPEN, "no ranking claim", few
    how = f"({' / '.join(sorted(set(ranked['test'])))}, Holm, {style.plural(n, 'replicate')})"
    apart = ranked["verdict"].str.startswith("separated")
    if not apart.all():
        close, clear = (_labels(plan, ranked.loc[which, "other"]) for which in (~apart, apart))
        text = f"Whether it is best is not certain: it is not separable from {close}"
        return OPEN, "not certain", f"{text}{f'; it is separated from {clear}' if clear else ''} {how}."
    text = f"It is separated from each of the other {len(ranked)} methods and baselines"
    if ranked["verdict"].str.contains("provisional").any():
        return PROVISIONAL, "best, provisionally", f"{text}, provisionally because units are few {how}."
    return CERTAIN, "best", f"{text} {how}."


def _labels(plan: Plan, models: "pd.Series[str]") -> str:
    return ", ".join(str(plan["models"][m]["label"]) for m in models)


def _lost(head: Headline) -> str:
    lost = [row for row in head.rows if row.status != "not_applicable" and row.n_ok < row.n_total]
    told = [f"{row.label} {row.n_total - row.n_ok} of {row.n_total}" for row in lost]
    return f"Failed members: {', '.join(told)}." if told else ""


def _blind(plan: Plan, head: Headline, candidates: list[Row]) -> Markup:
    """Say what a headline without truth shows: agreement of trainings, or only what its metric measures."""
    beside = [row for row in head.rows if row.role == "negative_control" and row.status == "ok"]
    values, controls = (", ".join(f"{row.label} {_value(row)}" for row in rows) for rows in (candidates, beside))
    agreement = compares_seeds(plan, head)
    told = (
        "it says whether two trainings agree"
        if agreement
        else f"{head.label} says neither that nor whether two trainings agree"
    )
    best = f"; perfect agreement is {style.number(head.ceiling)}" if agreement and np.isfinite(head.ceiling) else ""
    why = "Agreement between trainings is not correctness" if agreement else "Neither is shown without true latents"
    spread = (
        "There is one replicate, so the brackets are over training seeds only: no ranking claim."
        if head.units < 2
        else f"{why}, so nothing is ranked."
    )
    return Markup(
        "This dataset has no true latents, so nothing here says that latents are causal; {}. <b>{}: {}</b>. "
        "Beside them: {}{}. {} {}"
    ).format(told, head.label, values, controls or "no control", best, spread, _lost(head))
