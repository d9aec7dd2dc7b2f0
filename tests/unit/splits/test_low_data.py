"""Few cells: how many are held out, used and left aside."""

import numpy as np
import pytest

from _cells import mapped
from scident.errors import ConfigError
from scident.splits.low_data import Params, assign

LABELS = ("control", "a", "b", "a+b")


def found(adata, seed=0, **params):
    return assign(adata, Params(**params), np.random.default_rng(seed))


def shares(adata, **params):
    """Label -> (held out, trained on, unused) cells."""
    held = found(adata, **params)
    label = adata.obs["perturbation"].astype(str)
    kinds = held.fillna(False), ~held.fillna(True).astype(bool), held.isna()
    return {name: tuple(int(kind[label == name].sum()) for kind in kinds) for name in sorted(set(label))}


@pytest.mark.parametrize(("share", "used"), [(1.0, 40), (0.5, 20), (0.1, 4), (0.001, 1)])
def test_a_fifth_is_held_out_and_a_share_of_the_rest_is_used(share, used):
    got = shares(mapped(labels=LABELS, per_label=50), share=share)
    assert got == {"control": (0, 50, 0)} | dict.fromkeys(("a", "b", "a+b"), (10, used, 40 - used))


def test_combinations_alone_may_be_thinned_down_to_nothing():
    got = shares(mapped(labels=LABELS, per_label=50), share=0, only="combinations")
    assert got == {"control": (0, 50, 0), "a": (0, 50, 0), "b": (0, 50, 0), "a+b": (10, 0, 40)}


def test_every_condition_is_thinned_by_itself():
    adata = mapped(labels=LABELS, per_label=60, contexts=("x", "y", "z"))
    held = found(adata, share=0.25)
    treated = adata.obs[~adata.obs["is_control"]]
    counts = held[treated.index].notna().groupby([treated["perturbation"], treated["context"]], observed=True).sum()
    assert set(counts) == {4 + 4}
    assert not held[adata.obs["is_control"]].isna().any()


def test_smaller_shares_use_some_of_the_same_cells_and_hold_out_the_same():
    adata = mapped(labels=LABELS, per_label=50)
    one, two = (found(adata, share=share) for share in (0.1, 0.5))
    assert one.fillna(False).equals(two.fillna(False))
    assert (one.notna() <= two.notna()).all()


def test_the_order_of_the_file_does_not_matter():
    adata = mapped(labels=LABELS, per_label=50)
    other = adata[np.random.default_rng(1).permutation(adata.n_obs)].copy()
    assert found(other).reindex(adata.obs_names).equals(found(adata))


@pytest.mark.parametrize(
    ("labels", "params", "says"),
    [
        (("control", "a"), {"only": "combinations"}, "no combinations to thin, 20 treated cells of 1 perturbations"),
        (("control", "a"), {"share": 0}, "share 0 of perturbations leaves no perturbed cell to train on"),
        (("control",), {}, "no perturbations to thin, 0 treated cells"),
    ],
)
def test_assign_refuses_what_cannot_be(labels, params, says):
    with pytest.raises(ConfigError, match=says):
        found(mapped(labels=labels), **params)
