import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scident
from scident import contracts, io
from scident.report import style, words
from scident.report.view import Headline, Place, Row, Tables, headline_variant

PLACE = Place("d", "s", "iid")
LABELS = {"a": "Alpha", "b": "Beta", "c": "Gamma <x>"}
PLAN = {
    "datasets": {"d": {"has_truth": True, "has_blocks": False}},
    "models": {m: {"label": label} for m, label in LABELS.items()},
    "metrics": {"mcc": {"variants": ["", "within"], "over": "member"}},
}
BLIND = PLAN | {"datasets": {"d": {"has_truth": False, "has_blocks": False}}}


def row(model, mean, **more):
    fields = {"low": mean - 0.02, "high": mean + 0.02, "dots": np.array([mean]), "status": "ok", "reason": ""}
    fields |= {"n_ok": 10, "n_total": 10, "role": "method"} | more
    return Row(model=model, label=LABELS[model], mean=mean, **fields)


def head(rows=None, **more):
    fields = {"floor": 0.4, "floor_model": "floor", "floor_label": "Label only", "ceiling": 0.9, "units": 5, "seeds": 2}
    fields |= {"interval": "t over replicates", "better": "higher", "range": (0.0, 1.0)} | more
    rows = rows or (row("a", 0.8), row("b", 0.7), row("c", 0.6))
    return Headline(place=PLACE, metric="mcc", label="MCC", rows=tuple(rows), **fields)


def tables(verdicts, units=5, variant=""):
    ranks = pd.DataFrame(
        [
            {
                "dataset": "d", "split": "s", "scope": "iid", "metric": "mcc", "variant": variant, "best": "a",
                "other": m, "units": 0 if v.startswith("not ranked") else units, "difference": 0.1, "low": 0.0,
                "high": 0.2, "effect": 1.0, "test": "paired t", "p": 0.01, "p_holm": 0.02, "verdict": v,
            }
            for m, v in verdicts.items()
        ]
        or io.empty_table("ranks")
    )  # fmt: skip
    empty = {name: io.empty_table(name) for name in Tables.__dataclass_fields__}
    return Tables(**empty | {"ranks": contracts.check_table(ranks, "ranks")})


def test_answer_places_the_best_between_floor_and_ceiling():
    text = words.answer(PLAN, tables({"b": "separated", "c": "separated"}, 10), head(units=10)).text
    assert "<b>Alpha has the highest MCC: 0.80 [0.78, 0.82]</b>, 80 % of the way from floor to ceiling" in text
    assert "(floor 0.40 (Label only); ceiling 0.90)" in text


@pytest.mark.parametrize(
    ("verdicts", "units", "level", "badge", "part"),
    [
        ({"b": "separated", "c": "separated"}, 10, words.CERTAIN, "best", "each of the other 2"),
        ({"b": "separated (provisional, 5 units)"}, 5, words.PROVISIONAL, "best, provisionally", "provisionally"),
        ({"b": "not separable", "c": "separated"}, 10, words.OPEN, "not certain", "not separable from Beta; it is"),
        ({"b": "no claim (3 units)"}, 3, words.OPEN, "no ranking claim", "With 3 replicates no ranking is claimed"),
        ({}, 5, words.OPEN, "no ranking claim", "Nothing else could be ranked"),
        ({"b": "not ranked (1/10 succeeded)"}, 5, words.OPEN, "no ranking claim", "Nothing else could be ranked"),
    ],
)
def test_answer_says_how_certain_the_ranking_is(verdicts, units, level, badge, part):
    found = words.answer(PLAN, tables(verdicts, units), head(units=units))
    assert (found.level, found.badge) == (level, badge)
    assert part in found.text


def test_answer_of_one_replicate_claims_nothing():
    found = words.answer(PLAN, tables({"b": "no claim (1 unit)"}, 1), head(units=1))
    assert found.badge == "no ranking claim"
    assert "training seeds only" in found.text


def test_answer_says_when_the_best_is_below_the_floor():
    assert "not above the floor" in words.answer(PLAN, tables({}), head([row("a", 0.3)])).text


RESPONSES = BLIND | {
    "metrics": {"mcc": {"variants": ["", "counterfactual"], "over": "member", "needs": ["predictions", "labels"]}}
}


def test_answer_of_responses_ranks_without_true_latents():
    found = words.answer(RESPONSES, tables({"b": "separated", "c": "separated"}, 10), head(units=10))
    assert found.badge == "best"
    assert "latents" not in found.text


def test_answer_says_when_the_best_prediction_needs_no_training():
    found = words.answer(RESPONSES, tables({"b": "not separable"}), head(floor=0.8, floor_model="a"))
    assert "0.80 [0.78, 0.82]</b>, and it needs no training" in found.text
    assert "no trained model is above it" in found.text
    assert "% of the way" not in found.text


@pytest.mark.parametrize(("better", "ceiling"), [("higher", 0.4), ("higher", 0.3), ("lower", 0.5)])
def test_answer_says_when_the_ceiling_is_not_above_the_floor(better, ceiling):
    found = words.answer(RESPONSES, tables({}), head(better=better, ceiling=ceiling))
    assert f"(floor 0.40 (Label only); ceiling {ceiling:.2f}, not above the floor" in found.text
    assert "% of the way" not in found.text


def test_answer_says_when_the_interval_of_the_ceiling_holds_the_floor():
    rows = [row("a", 0.45), row("b", 0.42, role="positive_control", low=0.3, high=0.54)]
    found = words.answer(RESPONSES, tables({}), head(rows, ceiling=0.42))
    assert "(floor 0.40 (Label only); ceiling 0.42, whose interval holds the floor" in found.text
    assert "% of the way" not in found.text


def test_answer_counts_lost_members_and_escapes_names():
    rows = [row("a", 0.8), row("c", 0.6, n_ok=7)]
    assert "Failed members: Gamma &lt;x&gt; 3 of 10." in words.answer(PLAN, tables({}), head(rows)).text


def test_answer_without_any_result_points_to_the_failures():
    lost = row("a", np.nan, status="failed", reason="killed", n_ok=0)
    assert words.answer(PLAN, tables({}), head([lost])).badge == "no result"


def test_answer_without_truth_ranks_nothing():
    plan = BLIND | {"metrics": {"mcc": {"variants": [""], "over": "seeds"}}}
    found = words.answer(plan, tables({"b": "separated"}, 10), head(units=10, ceiling=1.0))
    assert found.badge == "no ranking claim"
    assert "whether two trainings agree. <b>MCC: Alpha" in found.text
    assert "perfect agreement is 1.00" in found.text
    assert "Agreement between trainings is not correctness, so nothing is ranked" in found.text


def test_answer_without_truth_and_without_agreement_claims_neither():
    found = words.answer(BLIND, tables({"b": "separated"}, 10), head(units=10, ceiling=np.nan))
    assert found.badge == "no ranking claim"
    assert "MCC says neither that nor whether two trainings agree. <b>MCC: Alpha" in found.text
    assert "perfect agreement" not in found.text
    assert "nan" not in found.text


def test_answer_reads_the_ranks_of_the_headlines_own_variant():
    both = [tables({"b": "separated"}, 10).ranks, tables({"b": "not separable"}, 10, "within").ranks]
    found = words.answer(PLAN, replace(tables({}), ranks=pd.concat(both)), head(units=10))
    assert found.badge == "best"


def test_fully_separated_passes_over_the_unranked():
    ranks = tables({"b": "separated", "c": "not ranked (0/10 succeeded)"}).ranks
    assert words.fully_separated(ranks)
    assert not words.fully_separated(ranks[ranks["other"] == "c"])


@pytest.mark.parametrize("verdict", ["not separable", "no claim (3 units)"])
def test_fully_separated_needs_every_ranked_comparison(verdict):
    assert not words.fully_separated(tables({"b": "separated", "c": verdict}).ranks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.794, "0.79"), (-0.001, "0.00"), (-0.25, "−0.25"), (1234.56, "1,234.6"), (-1234.56, "−1,234.6")],
)
def test_number_is_short_and_has_a_true_minus(value, text):
    assert style.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.6, "+0.60"), (-0.6, "−0.60"), (0.001, "0.00"), (-0.001, "0.00"), (12.34, "+12.3")]
)
def test_signed_always_shows_the_sign_of_what_it_prints(value, text):
    assert style.signed(value) == text


@pytest.mark.parametrize(
    ("variants", "scope", "found"),
    [
        (["", "zero_shot", "finetuned_half"], "iid", ""),
        (["", "zero_shot", "finetuned_half"], "ood", "zero_shot"),
        (["corrected", "released"], "ood", "corrected"),
    ],
)
def test_headline_variant_is_the_first_with_rows_on_its_scope(variants, scope, found):
    assert headline_variant({"metrics": {"m": {"variants": variants}}}, "m", scope) == found


def test_explain_puts_reasons_into_words():
    assert style.explain("nonfinite_latents") == "NaN or infinity in latents"
    assert style.explain("no_truth") == "the dataset comes without true latents"
    assert style.explain("exception: ValueError: no") == "the code raised an error"
    assert style.explain("something_new") == "something_new"


def raised():
    """Every reason that the code names: of a refusal, of a failed row, or before the colon of an exception's text."""
    sources = [p for p in Path(scident.__file__).parent.rglob("*.py") if p.name != "style.py"]
    return {found for path in sources for found in re.findall(r"""["']([a-z_]+)(?:["']|: )""", path.read_text())}


def test_every_refusal_is_explained():
    sources = Path(scident.__file__).parent.rglob("*.py")
    refusals = {found for path in sources for found in re.findall(r"""NotApplicable\("(\w+)"\)""", path.read_text())}
    refusals |= {"killed", "oom", "outdated", "no_output", "member_failed", "nonfinite_loss", "variant_missing"}
    assert [reason for reason in sorted(refusals) if style.explain(reason) == reason] == []


def test_no_reason_is_explained_that_nobody_gives():
    assert set(style.REASONS) - raised() == set()
