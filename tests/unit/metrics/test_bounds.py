"""Bounds of held-out perturbations: which protocol has values, and why the others have none."""

from dataclasses import replace

import numpy as np
import pytest

from _worlds import gaussian, labels, member, value, world
from scident.errors import NonFiniteError, NotApplicable
from scident.metrics import iwelbo, nelbo

Z = gaussian(400, 2)
COST = labels(400, 10)[2].astype(float)
"""Cost of a cell is the number of its perturbation; perturbations 6 to 9 are held out: mean 7.5."""
HELDOUT_MEAN = 7.5
CASES = {
    # values per protocol of one model, its protocol of the split -> reason of zero_shot, half, insample ("" is a value)
    "no labels": ({}, "heldout", ("", "nothing_to_fit", "nothing_to_fit")),
    "no labels, released": ({}, "released", ("", "nothing_to_fit", "nothing_to_fit")),
    "no labels, trained twice": ({"zero_shot": COST + 3, "retrained": "ok"}, "heldout", ("", *["nothing_to_fit"] * 2)),
    "no labels, second training failed": (
        {"retrained": "failed:nonfinite_loss"},
        "heldout",
        ("failed:nonfinite_loss", "nothing_to_fit", "nothing_to_fit"),
    ),
    "second training failed": (
        {"label_conditioned": True, "adapts": True, "retrained": "failed:nonfinite_loss"},
        "heldout",
        ("failed:nonfinite_loss", "failed:nonfinite_loss", "split_undefined"),
    ),
    "second training failed, released": (
        {"label_conditioned": True, "adapts": True, "retrained": "failed:oom"},
        "released",
        ("failed:oom", "split_undefined", "failed:oom"),
    ),
    "cannot adapt": ({"label_conditioned": True}, "heldout", ("split_undefined",) * 3),
    "not chosen": (
        {"label_conditioned": True, "adapts": True},
        "heldout",
        ("not_retrained", "not_retrained", "split_undefined"),
    ),
    "not chosen, released": (
        {"label_conditioned": True, "adapts": True},
        "released",
        ("not_retrained", "split_undefined", "not_retrained"),
    ),
    "fitted": (
        {"label_conditioned": True, "adapts": True, "zero_shot": COST + 3, "finetuned_half": COST + 1},
        "heldout",
        ("", "", "split_undefined"),
    ),
    "fitted, released": (
        {"label_conditioned": True, "adapts": True, "zero_shot": COST + 3, "finetuned_insample": COST + 1},
        "released",
        ("", "split_undefined", ""),
    ),
}
PROTOCOLS = ("zero_shot", "finetuned_half", "finetuned_insample")


def heldout(protocol="heldout", **given):
    return world(None, member(Z, nelbo=COST, **given), scope="ood", heldout=4, protocol=protocol)


@pytest.mark.parametrize("module", [nelbo, iwelbo])
@pytest.mark.parametrize("case", CASES)
def test_every_protocol_has_a_value_or_its_reason(module, case):
    given, protocol, reasons = CASES[case]
    inputs = heldout(protocol, **given)
    found = [value(module, inputs, name) for name in PROTOCOLS]
    assert tuple(one.missing or (one.failed and f"failed:{one.failed}") for one in found) == reasons


def test_protocols_read_their_own_values_one_row_per_perturbation():
    given, _, _ = CASES["fitted"]
    found = nelbo.score(heldout(**given), nelbo.Params(), np.random.default_rng(0))
    for variant, extra in (("zero_shot", 3), ("finetuned_half", 1)):
        own = [v for v in found if v.variant == variant]
        assert [v.perturbation for v in own] == ["p006", "p007", "p008", "p009", None]
        assert [v.value for v in own] == pytest.approx([6 + extra, 7 + extra, 8 + extra, 9 + extra, 7.5 + extra])
        assert own[-1].n == 4


def test_the_usual_bound_of_a_model_without_labels_is_its_zero_shot():
    assert value(nelbo, heldout(), "zero_shot").value == pytest.approx(HELDOUT_MEAN)
    assert value(iwelbo, heldout(), "zero_shot").value == pytest.approx(1 - HELDOUT_MEAN)


def test_a_model_without_labels_that_is_trained_twice_shows_the_second_training():
    twice = heldout(zero_shot=COST + 3)
    assert value(nelbo, twice, "zero_shot").value == pytest.approx(HELDOUT_MEAN + 3)
    assert value(iwelbo, twice, "zero_shot").value == pytest.approx(1 - HELDOUT_MEAN - 3)


def test_a_label_conditioned_model_never_shows_its_usual_bound_out_of_domain():
    given, _, _ = CASES["fitted"]
    poisoned = world(None, member(Z, nelbo=COST * np.nan, **given), scope="ood", heldout=4)
    assert value(nelbo, poisoned, "zero_shot").value == pytest.approx(HELDOUT_MEAN + 3)


def without_iwelbo(inputs):
    given = {name: replace(bounds, iwelbo=None) for name, bounds in inputs.member.likelihood.items()}
    return replace(inputs, members=(replace(inputs.member, likelihood=given),))


def test_iwelbo_that_was_not_asked_for_does_not_apply():
    inputs = without_iwelbo(world(None, member(Z, nelbo=COST)))
    with pytest.raises(NotApplicable, match="no_likelihood"):
        iwelbo.score(inputs, iwelbo.Params(), np.random.default_rng(0))
    assert nelbo.score(inputs, nelbo.Params(), np.random.default_rng(0))
    unseen = without_iwelbo(heldout(**CASES["fitted"][0]))
    found = [value(iwelbo, unseen, name).missing for name in PROTOCOLS]
    assert found == ["no_likelihood", "no_likelihood", "split_undefined"]


def test_a_bound_that_failed_on_one_scored_cell_fails():
    broken = COST.copy()
    broken[399] = np.nan
    with pytest.raises(NonFiniteError, match="nonfinite_iwelbo"):
        iwelbo.score(world(None, member(Z, nelbo=broken)), iwelbo.Params(), np.random.default_rng(0))


@pytest.mark.parametrize("lost", ["zero_shot", "finetuned_half"])
def test_a_protocol_that_failed_leaves_the_other_its_value(lost):
    given = CASES["fitted"][0]
    (kept,) = {"zero_shot", "finetuned_half"} - {lost}
    broken = heldout(**given | {lost: np.where(np.arange(400) == 399, np.nan, given[lost])})
    assert value(nelbo, broken, lost).failed == "nonfinite_nelbo"
    assert value(nelbo, broken, kept) == value(nelbo, heldout(**given), kept)


def test_cells_outside_the_scope_may_lack_a_bound():
    known = np.where(COST >= 6, COST, np.nan)
    given = {"label_conditioned": True, "adapts": True, "zero_shot": known, "finetuned_half": known}
    assert value(nelbo, heldout(**given), "finetuned_half").value == pytest.approx(HELDOUT_MEAN)


def test_order_of_cells_changes_nothing():
    rng = np.random.default_rng(0)
    inputs = world(None, member(Z, nelbo=rng.uniform(5, 6, 400)))
    order = rng.permutation(400)
    bounds = inputs.member.likelihood[""]
    moved = {"": replace(bounds, nelbo=bounds.nelbo[order], iwelbo=bounds.iwelbo[order])}
    other = replace(inputs, obs=inputs.obs.iloc[order], members=(replace(inputs.member, likelihood=moved),))
    for module in (nelbo, iwelbo):
        assert value(module, other).value == pytest.approx(value(module, inputs).value)
        assert value(module, other).se == pytest.approx(value(module, inputs).se)


def test_samples_of_the_bound_are_at_least_one():
    assert iwelbo.Params().samples == 100
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        iwelbo.Params(samples=0)
