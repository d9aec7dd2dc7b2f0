"""Which variant of a metric stands for a model in the headline."""

import pandas as pd
import pytest

from scident.report import view

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
