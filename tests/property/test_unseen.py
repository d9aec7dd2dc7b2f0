"""What a split promises to be unseen never reaches training, and what it promises to be seen elsewhere is."""

import anndata as ad
import hypothesis.strategies as st
import numpy as np
import pandas as pd
from hypothesis import given, settings

from scident.errors import ConfigError
from scident.splits import unseen_context, unseen_dose, unseen_pair
from scident.stages import split

UNTIMED = settings(deadline=None, max_examples=60)  # a busy machine is no failure


@st.composite
def screens(draw):
    """Up to 5 perturbations and a control in up to 4 contexts at up to 3 doses, some conditions without cells."""
    perturbations, contexts, doses = (draw(st.integers(1, most)) for most in (5, 4, 3))
    rows = [
        (f"p{p}" if p else "control", f"x{x}", p == 0, float(10**d) if p else 0.0)
        for p in range(perturbations + 1)
        for x in range(contexts)
        for d in range(doses if p else 1)
        for _ in range(draw(st.sampled_from([0, 3, 3, 12])))
    ]
    obs = pd.DataFrame(rows, columns=["perturbation", "context", "is_control", "dose"])
    obs["perturbation"] = obs["perturbation"].astype("category")
    obs.index = [f"c{i}" for i in range(len(obs))]
    return ad.AnnData(np.zeros((len(obs), 1)), obs=obs), draw(st.integers(0, 2**32))


def cut(module, case, protocol="heldout", **params):
    """Return obs with heldout and part, or None where the split refuses the data."""
    adata, seed = case
    rng = np.random.default_rng(seed)
    try:
        held = module.assign(adata, module.Params(**params), rng)
    except ConfigError:
        return None
    obs = adata.obs.assign(heldout=held)
    assert not (obs["heldout"] & obs["is_control"]).any()
    assert obs["heldout"].any()
    return obs.assign(part=split.cut(obs, held.to_numpy(), protocol, rng))


def keys(obs, *columns):
    return set(obs[list(columns)].astype(str).itertuples(index=False, name=None))


@UNTIMED
@given(screens(), st.floats(0.05, 0.6), st.sampled_from(["heldout", "released"]))
def test_an_unseen_pair_is_new_and_both_of_its_ends_are_not(case, share, protocol):
    obs = cut(unseen_pair, case, protocol, share=share)
    if obs is None:
        return
    held, left = obs[obs["heldout"]], obs[~obs["heldout"] & ~obs["is_control"]]
    trained = obs[obs["part"].isin(["train", "val"])]
    pairs = keys(held, "context", "perturbation")
    assert not pairs & keys(left, "context", "perturbation")
    assert not pairs & keys(trained, "context", "perturbation")
    assert len(pairs) == max(round(share * len(keys(obs[~obs["is_control"]], "context", "perturbation"))), 1)
    for end in ("context", "perturbation"):
        assert keys(held, end) <= keys(left, end)
        large = {k for k, n in left[end].astype(str).value_counts().items() if n >= 12}
        assert {k for (k,) in keys(held, end)} & large <= {k for (k,) in keys(trained, end)}


@UNTIMED
@given(screens(), st.integers(1, 3))
def test_of_an_unseen_context_training_sees_controls_alone(case, last_n):
    obs = cut(unseen_context, case, last_n=last_n)
    if obs is None:
        return
    held, trained = obs[obs["heldout"]], obs[obs["part"].isin(["train", "val"])]
    of_them = obs["context"].isin(held["context"].unique())
    assert trained.loc[of_them.reindex(trained.index), "is_control"].all()
    assert keys(held, "context") <= keys(obs[obs["is_control"]], "context")
    assert (~obs["is_control"] & ~of_them).any()


@UNTIMED
@given(screens())
def test_an_unseen_dose_is_above_every_dose_of_its_perturbation_in_training(case):
    obs = cut(unseen_dose, case)
    if obs is None:
        return
    held, left = obs[obs["heldout"]], obs[~obs["heldout"]]
    assert keys(held, "perturbation") <= keys(left, "perturbation")
    highest = left.groupby("perturbation", observed=True)["dose"].max()
    lowest = held.groupby("perturbation", observed=True)["dose"].min()
    assert (lowest > highest.reindex(lowest.index)).all()
