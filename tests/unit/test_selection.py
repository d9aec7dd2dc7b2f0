import pytest

from scident import selection

POINTS = ["a", "b", "c"]
CRITERIA = {
    "val_nelbo": {"a": 3.0, "b": 1.0, "c": 2.0},
    "stability": {"a": 0.9, "b": 0.1, "c": 0.8},
    "heldout_validation": {"a": -9.0, "b": -7.0, "c": -8.0},
}


@pytest.mark.parametrize(("rule", "chosen"), [("val_nelbo", "b"), ("stability", "a"), ("heldout_validation", "b")])
def test_each_criterion_is_read_in_its_own_direction(rule, chosen):
    assert selection.choose(rule, CRITERIA, POINTS) == chosen


def test_a_combination_averages_ranks():
    # stability ranks a, c, b; validation perturbations rank b, c, a: all have mean rank 1
    found = selection.scores("stability+heldout_validation", CRITERIA, POINTS)
    assert found == {"a": 1.0, "b": 1.0, "c": 1.0}
    better = CRITERIA | {"heldout_validation": {"a": -9.0, "b": -8.0, "c": -7.0}}
    assert selection.choose("stability+heldout_validation", better, POINTS) == "c"


def test_a_tie_goes_to_the_first_criterion():
    assert selection.choose("stability+heldout_validation", CRITERIA, POINTS) == "a"


def test_equal_values_share_a_rank():
    flat = CRITERIA | {"stability": dict.fromkeys(POINTS, 0.5)}
    assert selection.choose("stability+heldout_validation", flat, POINTS) == "b"


@pytest.mark.parametrize("rule", list(selection.RULES))
def test_the_order_of_grid_points_changes_nothing(rule):
    assert selection.choose(rule, CRITERIA, POINTS[::-1]) == selection.choose(rule, CRITERIA, POINTS)


def test_one_grid_point_needs_no_criterion():
    assert selection.choose("stability", {}, ["default"]) == "default"


def test_a_rule_chooses_among_the_points_it_knows():
    partly = CRITERIA | {"stability": {"c": 0.1, "b": 0.05}}  # a seed of the most stable point failed
    assert selection.known("stability", partly, POINTS) == ["b", "c"]
    assert selection.choose("stability", partly, POINTS) == "c"
    # ranks among b and c alone: stability c, validation perturbations b; the tie goes to stability
    assert selection.choose("stability+heldout_validation", partly, POINTS) == "c"


def test_another_rule_stands_in_where_nothing_is_known():
    unstable = {name: values for name, values in CRITERIA.items() if name != "stability"}
    assert selection.applicable("stability", CRITERIA, POINTS) == "stability"
    assert selection.applicable("stability", unstable, POINTS) == "heldout_validation"
    assert selection.applicable("val_nelbo", unstable, POINTS) == "val_nelbo"
    assert selection.applicable("stability", {}, POINTS) is None


def test_every_rule_is_made_of_known_criteria():
    assert {name for parts in selection.RULES.values() for name in parts} == set(selection.LOWER_IS_BETTER)
