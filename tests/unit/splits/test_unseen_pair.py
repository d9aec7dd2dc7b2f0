import numpy as np
import pytest

from _cells import mapped
from scident.errors import ConfigError
from scident.splits.unseen_pair import Params, assign


def data(**options):
    return mapped(**{"labels": ("control", "a", "b", "c"), "per_label": 36, "contexts": ("x", "y", "z")} | options)


def held_out(adata, seed=0, **params):
    found = assign(adata, Params(**params), np.random.default_rng(seed))
    pairs = adata.obs.loc[found, ["context", "perturbation"]].astype(str)
    return sorted(set(pairs.itertuples(index=False, name=None)))


def test_assign_holds_out_the_listed_pairs_and_all_their_cells():
    adata = data()
    assert held_out(adata, held_out=[("x", "a"), ("y", "b")]) == [("x", "a"), ("y", "b")]
    rows = (adata.obs["context"] == "x") & (adata.obs["perturbation"] == "a")
    assert assign(adata, Params(held_out=[("x", "a")]), np.random.default_rng(0)).equals(rows.rename(None))


@pytest.mark.parametrize(("share", "pairs"), [(0.2, 2), (0.01, 1), (0.5, 4)])
def test_assign_draws_a_share_of_the_pairs(share, pairs):
    assert len(held_out(data(), share=share)) == pairs


def test_every_seed_draws_other_pairs_and_every_pair_can_be_drawn():
    drawn = [tuple(held_out(data(), seed, share=0.2)) for seed in range(40)]
    assert len(set(drawn)) > 5
    assert {pair for draw in drawn for pair in draw} == {(x, p) for x in "xyz" for p in "abc"}


def test_assign_reads_pairs_from_a_configuration():
    assert Params(held_out=[["x", "a"]]).held_out == [("x", "a")]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"held_out": [("xx", "a")]}, "context 'xx', which has no treated cells; found 3: x, y, z"),
        ({"held_out": [("x", "control")]}, "perturbation 'control', which has no treated cells; found 3: a, b, c"),
        ({"held_out": [("x", "a"), ("y", "a"), ("z", "a")]}, "leaves the perturbation 'a' in no pair"),
        ({"held_out": [("x", "a"), ("x", "b"), ("x", "c")]}, "leaves the context 'x' in no pair"),
        ({"share": 0.9}, "share asks for 8 of 9 pairs .3 contexts., but only [3-6] can go"),
    ],
)
def test_assign_refuses_what_cannot_be(params, says):
    with pytest.raises(ConfigError, match=says):
        held_out(data(), **params)


def test_assign_refuses_a_pair_without_cells():
    adata = data()
    adata = adata[~((adata.obs["context"] == "x") & (adata.obs["perturbation"] == "a"))].copy()
    with pytest.raises(ConfigError, match="no cell of this context has the perturbation"):
        held_out(adata, held_out=[("x", "a")])


def test_one_context_has_no_pair_to_spare():
    with pytest.raises(ConfigError, match="only 0 can go"):
        held_out(data(contexts=("x",)))
