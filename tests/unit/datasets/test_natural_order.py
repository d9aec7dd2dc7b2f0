from scident.datasets.base import natural_order


def test_natural_order_counts_as_people_do():
    assert natural_order(["p10", "p2", "p1", "control"]) == ["control", "p1", "p2", "p10"]


def test_natural_order_takes_plain_numbers_and_mixed_labels():
    assert natural_order(["b", "10", "9", "a1b2", "a1b10", "a01"]) == ["9", "10", "a01", "a1b2", "a1b10", "b"]


def test_natural_order_is_fixed_where_labels_tie():
    assert natural_order(["a01", "a1"]) == natural_order(["a1", "a01"])
