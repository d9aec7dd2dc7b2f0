"""The page: everything in one file that needs nothing from outside."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup, escape

from scident.contracts import HASHES
from scident.report import (
    cards,
    choosing,
    contrasts,
    factorised,
    figures,
    heldout,
    jobs,
    style,
    tables,
    view,
    visible,
    words,
)
from scident.report.view import Headline, Place, Plan, Tables

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Report:
    """What the report stage writes."""

    html: str
    figures: dict[str, str]
    """File name without ending -> standalone SVG."""
    tables: dict[str, pd.DataFrame]


def report(plan: Plan, found: Tables) -> Report:
    """Make the report of a benchmark from its plan and its aggregate tables."""
    heads = {place: view.headline(plan, found, place) for place in view.places(plan)}
    drawn: dict[str, str] = {}
    sections = [_section(plan, found, pair, heads, drawn) for pair in view.pairs(plan)]
    failed = jobs.failures(plan, found.scores)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("index.html.j2").render(
        css=Markup((TEMPLATES / "style.css").read_text()),
        colours=style.ROLE_COLOURS,
        roles=style.ROLES,
        sections=sections,
        failures=jobs.failure_table(failed),
        costs=jobs.cost_table(plan, found.costs),
        metrics=cards.metric_cards(plan),
        models=cards.model_table(plan),
        provenance=_provenance(plan, found.scores),
        n_models=len(plan["models"]),
        n_runs=sum(run["skipped"] is None for run in plan["runs"]),
    )
    names = ("summary", "ranks", "selected", "grid", "differences", "costs")
    return Report(page, drawn, {name: getattr(found, name) for name in names} | {"failures": failed})


def _section(
    plan: Plan,
    found: Tables,
    pair: tuple[str, str],
    heads: dict[Place, Headline | None],
    drawn: dict[str, str],
) -> dict[str, Any]:
    dataset, split = pair
    places = [Place(dataset, split, scope) for scope in view.scopes_of(plan, split)]
    shown = [head for place in places if (head := heads[place]) is not None]
    whole = Place(dataset, split, "")
    slug = f"{dataset}-{split}"
    run = next(r for r in plan["runs"] if (r["dataset"], r["split"]) == pair)
    selected = whole.of(found.selected)
    used = selected[selected["default"].astype(bool)]
    matrices = figures.target_matrices(whole.of(found.aligned), used, plan, f"targets-{slug}")
    chosen = choosing.choices(plan, whole.of(found.grid), selected, f"grid-{slug}")
    curves = figures.training_curves(whole.of(found.curves), plan, f"curves-{slug}")
    headlines = [(f"headline-{h.place.slug}", h, figures.headline(h)) for h in shown]
    drawn |= {name: svg for name, _, svg in [*headlines, *matrices, *curves]}
    drawn |= {choice.name: choice.svg for choice in chosen if choice.svg}
    models = view.order_of_models(plan, shown[0] if shown else None)
    blocks = factorised.section(plan, found, places[0], models)
    if blocks:
        drawn |= {name: svg for name, _, svg in [*blocks.within, *blocks.pooled]}
    responses = [known for place in places if (known := visible.section(plan, found, place)) is not None]
    drawn |= {known.name: known.svg for known in responses if known.svg}
    return {
        "id": slug,
        "dataset": plan["datasets"][dataset],
        "split": plan["splits"][split],
        "size": f"{style.plural(len(run['replicates']), 'replicate')} × {style.plural(len(run['seeds']), 'seed')}",
        "one_replicate": len(run["replicates"]) == 1,
        "one_split": sum(d == dataset for d, _ in view.pairs(plan)) == 1,
        "kinds": sorted({words.kind(plan, head) for head in shown}),
        "roles": {row.role for head in shown for row in head.rows},
        "answers": [words.answer(plan, found, head) for head in shown],
        "undefined": [style.SCOPES[p.scope] for p in places if heads[p] is None],
        "headlines": [(h, style.SCOPES[h.place.scope], Markup(svg)) for _, h, svg in headlines],
        "spread": cards.spread_table(plan, found, shown),
        "scores": [_scores(plan, found, place, models) for place in places],
        "matrices": [(caption, Markup(svg)) for _, caption, svg in matrices],
        "curves": [(caption, Markup(svg)) for _, caption, svg in curves],
        "choices": [(choice, Markup(choice.svg)) for choice in chosen],
        "choosing": choosing.title(chosen),
        "bounds": heldout.bounds(plan, found, dataset, split, models),
        "fitted": heldout.FITTED[heldout.fitted_as(plan, split)],
        "comparisons": [_comparisons(plan, found, p, heads[p]) for p in places if _tested(found, p)],
        "factorised": blocks,
        "predictions": _tables(contrasts.predictions, plan, found, places),
        "visible": responses,
        "variants": _tables(contrasts.variants, plan, found, places),
    }


def _tables(
    make: Callable[[Plan, Tables, Place], Markup | None], plan: Plan, found: Tables, places: list[Place]
) -> list[tuple[str, Markup]]:
    """Return (scope in words, table) of each place that has one."""
    made = ((style.SCOPES[place.scope], make(plan, found, place)) for place in places)
    return [(scope, table) for scope, table in made if table is not None]


def _scores(plan: Plan, found: Tables, place: Place, models: list[str]) -> dict[str, Any]:
    table, legend = tables.score_table(plan, found, place, models)
    return {
        "scope": style.SCOPES[place.scope],
        "table": table,
        "legend": legend,
        "silent": tables.silent(plan, found, place),
        "base_rate": tables.base_rate(found, place),
        "notes": cards.notes_on(plan, models),
        "left_out": tables.left_out(plan, found, place),
    }


def _tested(found: Tables, place: Place) -> bool:
    # One replicate gives nothing to pair; the table file still says so.
    return bool((place.of(found.ranks)["units"] > 1).any())


def _comparisons(plan: Plan, found: Tables, place: Place, headline: Headline | None) -> dict[str, Any]:
    ranks = place.of(found.ranks)
    order = {name: i for i, name in enumerate(plan["metrics"])}
    ranks = ranks.sort_values("metric", key=lambda names: names.map(order), kind="stable")
    head = ranks[ranks["metric"] == (headline.metric if headline else None)]
    rest = ranks.drop(index=head.index)
    return {
        "scope": style.SCOPES[place.scope],
        "table": tables.comparison_table(plan, head, f"compare-{place.slug}") if len(head) else None,
        "rest": tables.comparison_table(plan, rest, f"compare-rest-{place.slug}") if len(rest) else None,
    }


def _provenance(plan: Plan, scores: pd.DataFrame) -> dict[str, Any]:
    keys = ["dataset", "split", "model", *HASHES]
    hashed = scores[scores["hash_data"] != ""][keys].drop_duplicates().astype(str).map(escape)
    headings = ("Dataset", "Split", "Model", "Data", "Split", "Config", "Code")
    columns = hashed[["model", "dataset", "split", *HASHES]]
    labels = dict(zip(columns.columns, ("Model", "Dataset", "Split", *headings[3:]), strict=True))
    return {
        "versions": plan["versions"],
        "config": yaml.safe_dump(dict(plan["config"]), sort_keys=False, allow_unicode=True, width=100),
        "hashes": tables.to_html(columns, "hashes", labels) if len(columns) else None,
        "datasets": [(d["label"], d["source"]) for d in plan["datasets"].values()],
    }
