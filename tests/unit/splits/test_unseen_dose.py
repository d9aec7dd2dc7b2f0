import numpy as np
import pytest

from _cells import mapped
from scident.errors import ConfigError
from scident.splits.unseen_dose import Params, assign


def data():
    """Perturbations a and b at 1, 10 and 100, c at 10 alone."""
    adata = mapped(per_label=36, contexts=("x", "y", "z"))
    dose = np.resize([1.0, 10.0, 100.0], adata.n_obs // 4).repeat(4)
    adata.obs["dose"] = np.where(adata.obs["is_control"], 0.0, np.where(adata.obs["perturbation"] == "c", 10.0, dose))
    return adata


def held_out(adata, **params):
    found = assign(adata, Params(**params), np.random.default_rng(0))
    assert not found[adata.obs["is_control"]].any()
    return set(adata.obs.loc[found, ["perturbation", "dose"]].itertuples(index=False, name=None))


def test_assign_holds_out_the_highest_dose_of_those_that_have_several():
    assert held_out(data()) == {("a", 100.0), ("b", 100.0)}


def test_assign_holds_out_the_listed_doses():
    adata = data()
    assert held_out(adata, held_out=[1.0, 100.0]) == {(p, d) for p in "ab" for d in (1.0, 100.0)}
    adata.obs["dose"] = adata.obs["dose"].astype(str).astype("category")
    assert held_out(adata, held_out=[1]) == {("a", "1.0"), ("b", "1.0")}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"held_out": [3.0]}, "names the dose 3, but treated cells have 1, 10, 100"),
        ({"held_out": [10.0]}, "leaves the perturbation 'c' at no dose to train on; keep one of its doses 10"),
    ],
)
def test_assign_refuses_what_cannot_be(params, says):
    with pytest.raises(ConfigError, match=says):
        held_out(data(), **params)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda obs: obs.drop(columns="dose"), "no doses"),
        (lambda obs: obs.assign(dose=5.0), "no perturbation has two doses"),
        (lambda obs: obs.assign(dose="high"), "must be a number, found 'high'"),
    ],
)
def test_assign_refuses_data_without_doses(change, says):
    adata = data()
    adata.obs = change(adata.obs)
    with pytest.raises(ConfigError, match=says):
        held_out(adata)
