"""Combinations held out by name, at random, and as published."""

from itertools import pairwise

import numpy as np
import pytest

from _cells import mapped
from scident.errors import ConfigError
from scident.splits.unseen_combination import Params, assign
from scident.types import parts_of

SINGLES = ("a", "b", "c", "d")
PAIRS = ("a+b", "a+c", "a+d", "b+c", "b+d", "c+d", "a+e", "b+e")  # e is never alone


def data(labels=("control", *SINGLES, *PAIRS), **options):
    return mapped(labels=labels, **{"per_label": 20} | options)


def shares(adata, seed=0, **params):
    """Label -> (held out, trained on, unused) cells."""
    found = assign(adata, Params(**params), np.random.default_rng(seed))
    label = adata.obs["perturbation"].astype(str)
    kinds = found.fillna(False), ~found.fillna(True).astype(bool), found.isna()
    return {name: tuple(int(kind[label == name].sum()) for kind in kinds) for name in sorted(set(label))}


def held(found):
    return {name for name, (out, _, _) in found.items() if out}


def test_named_combinations_are_held_out_and_nothing_else():
    found = shares(data(), held_out=["a+b", "c+d"])
    assert held(found) == {"a+b", "c+d"}
    assert found["a+b"] == (20, 0, 0)
    assert {found[name] for name in set(found) - held(found)} == {(0, 20, 0)}


@pytest.mark.parametrize("seed", range(5))
def test_drawn_combinations_are_a_share_of_all_and_their_parts_are_seen_alone(seed):
    found = shares(data(), seed, share=0.5)
    assert len(held(found)) == 4
    assert held(found) <= set(PAIRS[:6])
    assert all(unused == 0 for _, _, unused in found.values())


def test_another_seed_draws_others_and_the_same_seed_the_same():
    drawn = [held(shares(data(), seed)) for seed in range(8)]
    assert len({tuple(sorted(found)) for found in drawn}) > 1
    assert drawn[0] == held(shares(data(), 0))


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("a", ("a",)),
        ("a+b", ("a", "b")),
        ("a+b+c", ("a", "b", "c")),
        ("(+)-JQ1", ("(+)-JQ1",)),
        ("(+)-JQ1+a", ("(+)-JQ1", "a")),
        ("a+drug (x+y)", ("a", "drug (x+y)")),
        ("+", ("+",)),
    ],
)
def test_a_plus_joins_parts_unless_it_stands_in_parentheses(label, parts):
    assert parts_of(label) == parts


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_published_fractions_test_a_fifth_of_the_last_quarter(fraction):
    found = shares(data(), fraction=fraction)
    tested = held(found)
    assert len(tested) == 2
    assert {found[name][0] for name in tested} == {4}
    trained = {name for name in PAIRS if found[name][1]}
    assert len(trained) == round(8 * fraction)
    assert trained.isdisjoint(tested) == (fraction < 1)
    assert all(found[name] == (0, 20, 0) for name in ("control", *SINGLES))
    for name in PAIRS:
        whole = 16 if name in tested else 20
        assert found[name][1:] == ((whole, 0) if name in trained else (0, whole))


def test_published_fractions_test_the_same_cells_and_train_on_more_and_more():
    adata = data()
    found = [assign(adata, Params(fraction=f), np.random.default_rng(3)) for f in (0, 0.25, 0.5, 0.75, 1)]
    for few, more in pairwise(found):
        assert few.fillna(False).equals(more.fillna(False))
        assert (few.notna() <= more.notna()).all()
        assert few.notna().sum() < more.notna().sum()


@pytest.mark.parametrize(
    ("labels", "params", "says"),
    [
        (("control", "a", "b"), {}, "none of the 2 perturbations is a combination; labels must join their parts by"),
        (None, {"held_out": ["a+x"]}, r"names 'a\+x', which is no combination of the data; found 8: a\+b"),
        (None, {"held_out": ["a"]}, "names 'a', which is no combination"),
        (None, {"held_out": ["a+b", "a+e"]}, r"names 'a\+e', but no cell has 'e' alone"),
        (None, {"share": 0.9}, "share asks for 7 of 8 combinations, but only 6 are made of perturbations"),
        (("control", "a", "a+b", "a+c"), {"fraction": 0}, "without 2 of 2 combinations training has 1 perturbations"),
        (("control", "a+b", "a+c"), {}, "share asks for 1 of 2 combinations, but only 0"),
    ],
)
def test_assign_refuses_what_cannot_be(labels, params, says):
    with pytest.raises(ConfigError, match=says):
        shares(data(labels or ("control", *SINGLES, *PAIRS)), **params)


@pytest.mark.parametrize(("share", "fraction"), [(0.25, 0.8), (0.5, 0.75)])
def test_a_fraction_does_not_reach_into_the_tested_share(share, fraction):
    with pytest.raises(ValueError, match="fraction must be at most 1 - share"):
        Params(share=share, fraction=fraction)
    assert Params(share=share, fraction=1 - share).fraction == 1 - share
    assert Params(share=share, fraction=1).fraction == 1


def test_named_combinations_have_no_fraction():
    with pytest.raises(ValueError, match="fraction goes with drawn combinations"):
        Params(held_out=["a+b"], fraction=0.5)
