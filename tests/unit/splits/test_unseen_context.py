import numpy as np
import pytest

from _cells import mapped
from scident.errors import ConfigError
from scident.splits.unseen_context import Params, assign


def data():
    return mapped(per_label=36, contexts=("x", "y", "z"))


def held_out(adata, **params):
    return assign(adata, Params(**params), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("params", "contexts"), [({}, {"z"}), ({"last_n": 2}, {"y", "z"}), ({"held_out": ["x"]}, {"x"})]
)
def test_assign_holds_out_the_treated_cells_of_contexts_and_keeps_their_controls(params, contexts):
    adata = data()
    found = held_out(adata, **params)
    treated = ~adata.obs["is_control"]
    assert found.equals((adata.obs["context"].isin(contexts) & treated).rename(None))
    assert (adata.obs["context"].isin(contexts) & ~found).any()


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"held_out": ["xx"]}, "names 'xx', but no treated cell has this context; found 3: x, y, z"),
        ({"last_n": 3}, "last_n holds out all 3 contexts; hold out at most 2"),
        ({"held_out": ["x", "y", "z"]}, "held_out holds out all 3 contexts"),
    ],
)
def test_assign_refuses_what_cannot_be(params, says):
    with pytest.raises(ConfigError, match=says):
        held_out(data(), **params)


def test_assign_refuses_a_context_of_which_nothing_would_be_seen():
    adata = data()
    adata = adata[~((adata.obs["context"] == "z") & adata.obs["is_control"])].copy()
    with pytest.raises(ConfigError, match="'z' has no control cells"):
        held_out(adata)
