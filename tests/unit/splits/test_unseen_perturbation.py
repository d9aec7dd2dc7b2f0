import numpy as np
import pytest

from _cells import mapped
from scident.errors import ConfigError
from scident.splits.unseen_perturbation import Params, assign


def held_out(adata, **params):
    found = assign(adata, Params(**params), np.random.default_rng(0))
    return sorted(adata.obs.loc[found, "perturbation"].astype(str).unique())


def test_assign_holds_out_the_last_labels():
    assert held_out(mapped(labels=("a", "b", "c", "d", "e")), last_n=2) == ["d", "e"]


def test_assign_never_holds_out_controls():
    assert held_out(mapped(labels=("a", "b", "c", "control")), last_n=1) == ["c"]


def test_assign_holds_out_the_named_labels():
    assert held_out(mapped(labels=("a", "b", "c", "d")), held_out=["b", "a"]) == ["a", "b"]


def test_assign_holds_out_every_cell_of_a_label():
    adata = mapped(labels=("a", "b", "c"), per_label=7)
    assert assign(adata, Params(held_out=["b"]), np.random.default_rng(0)).sum() == 7


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (
            {"held_out": ["pertb"]},
            "no such perturbation; found 4: perta, pertb1, pertc, pertd.* Did you mean 'pertb1'?",
        ),
        ({"held_out": ["control"]}, "names the control label 'control'"),
        ({"last_n": 3}, "last_n holds out 3 of 4 perturbations and leaves 1 to train on; hold out at most 2"),
        ({"held_out": ["perta", "pertc", "pertd"]}, "held_out holds out 3 of 4"),
    ],
)
def test_assign_refuses_what_cannot_be(params, says):
    with pytest.raises(ConfigError, match=says):
        held_out(mapped(labels=("perta", "pertb1", "pertc", "pertd", "control")), **params)
