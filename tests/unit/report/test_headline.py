"""Which variant of a metric stands for a model in the headline."""

import pandas as pd
import pytest

from scident.report import view
from scident.report.view import Place

PLAN = {
    "metrics": {
        "nmse": {"needs": ["predictions", "labels"], "variants": ["", "reconstruction", "counterfactual"]},
        "mcc": {"needs": ["latents", "truth"], "variants": ["", "within"]},
        "nelbo": {"needs": ["likelihood"], "variants": ["", "zero_shot", "finetuned_half"]},
    }
}


@pytest.mark.parametrize(
    ("metric", "scope", "given", "stands"),
    [
        (
            "nmse",
            "ood",
            {"a": ["reconstruction", "counterfactual", ""], "b": ["counterfactual"]},
            ["", "counterfactual"],
        ),
        ("nmse", "iid", {"a": ["reconstruction"], "b": [""]}, [None, ""]),
        ("mcc", "iid", {"a": ["within", ""], "b": ["within"]}, ["", None]),
        ("nelbo", "ood", {"a": ["", "zero_shot"], "b": ["finetuned_half"]}, ["zero_shot", None]),
    ],
)
def test_one_variant_stands_for_each_model(metric, scope, given, stands):
    rows = [(model, variant) for model, variants in given.items() for variant in variants]
    found = view._one_each(pd.DataFrame(rows, columns=["model", "variant"]), PLAN, metric, scope)
    assert found["model"].is_unique
    shown = dict(zip(found["model"], found["variant"], strict=True))
    assert [shown.get(model) for model in given] == stands


def declared(use, *, better="higher", needs=("latents",), variants=("",)):
    return {"use": use, "better": better, "needs": list(needs), "variants": list(variants), "over": "member"}


SCREEN = {
    "datasets": {"screen": {"has_truth": False, "has_blocks": False}},
    "models": {
        "vae": {"use": "vae", "likelihood": "negative binomial"},
        "fcr": {"use": "fcr", "likelihood": "normal"},
        "additive": {"use": "additive", "likelihood": "none"},
        "half_split": {"use": "half_split", "likelihood": "none"},
    },
    "metrics": {
        "mcc": declared("mcc_pearson", needs=("latents", "truth")),
        "nelbo": declared("nelbo", better="lower", needs=("likelihood",)),
        "probe": declared("probe_z_perturbation", better="neither"),
        "error": declared("nmse_corrected", better="lower", needs=("predictions",)),
        "beyond": declared("pref_delta_pearson", needs=("predictions",)),
        "agree": declared("seed_mcc"),
    },
}


def test_headline_without_truth_prefers_responses_where_conditions_are_held_out():
    found = {scope: view.headline_metrics(SCREEN, Place("screen", "s", scope)) for scope in ("iid", "ood")}
    assert found == {"iid": ["agree", "beyond", "error", "nelbo"], "ood": ["beyond", "error", "nelbo", "agree"]}


def test_headline_with_truth_is_the_mcc_alone():
    plan = SCREEN | {"datasets": {"screen": {"has_truth": True, "has_blocks": False}}}
    assert view.headline_metrics(plan, Place("screen", "s", "ood")) == ["mcc"]


@pytest.mark.parametrize(
    ("metric", "models", "compares"),
    [
        ("beyond", ["vae", "additive", "half_split"], True),
        ("beyond", ["additive", "half_split"], False),  # nobody was trained to predict
        ("nelbo", ["vae"], True),
        ("nelbo", ["vae", "fcr"], False),  # nats of counts beside nats of log expression
        ("agree", [], False),
    ],
)
def test_headline_says_something_of_a_model_in_one_unit(metric, models, compares):
    found = pd.DataFrame({"model": pd.Series(models, dtype=str)})
    assert view._compares(SCREEN, found, metric, Place("screen", "s", "ood")) is compares
