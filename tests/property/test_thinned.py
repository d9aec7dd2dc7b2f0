"""What nobody may use reaches no part that is used, and what is scored never reaches training."""

import anndata as ad
import hypothesis.strategies as st
import numpy as np
import pandas as pd
from hypothesis import given, settings

from scident.errors import ConfigError
from scident.splits import low_data, unseen_combination
from scident.stages import split
from scident.types import parts_of

UNTIMED = settings(deadline=None, max_examples=60)  # a busy machine is no failure
SINGLES = "abcde"
COMBINATIONS = [f"{one}+{other}" for i, one in enumerate(SINGLES) for other in SINGLES[i + 1 :]]
PROTOCOLS = st.sampled_from(["heldout", "released"])
FRACTIONS = st.sampled_from([None, 0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def screens(draw):
    """Controls, single perturbations and combinations in up to 2 contexts, some conditions without cells."""
    labels = ["control", *SINGLES, *draw(st.sets(st.sampled_from(COMBINATIONS), max_size=8))]
    rows = [
        (label, f"x{x}", label == "control")
        for label in labels
        for x in range(draw(st.integers(1, 2)))
        for _ in range(draw(st.sampled_from([0, 1, 3, 12])))
    ]
    obs = pd.DataFrame(rows, columns=["perturbation", "context", "is_control"])
    obs["perturbation"] = obs["perturbation"].astype("category")
    obs.index = [f"c{i}" for i in range(len(obs))]
    return ad.AnnData(np.zeros((len(obs), 1)), obs=obs), draw(st.integers(0, 2**32))


def cut(module, case, protocol, **params):
    """Return obs with held (True, False or NA) and part, or None where the split refuses the data."""
    adata, seed = case
    rng = np.random.default_rng(seed)
    try:
        held = module.assign(adata, module.Params(**params), rng)
    except ConfigError:
        return None
    heldout, used = split._held_out(held, adata, module.__name__)
    obs = adata.obs.assign(held=held, part="unused")
    obs.loc[used, "part"] = split.cut(adata.obs[used], heldout[used], protocol, rng)
    assert not (heldout & obs["is_control"]).any()
    assert used[obs["is_control"].to_numpy()].all()
    assert obs.loc[heldout, "part"].isin(["heldout_fit", "heldout_score"]).all()
    assert (obs["part"].eq("unused") == obs["held"].isna()).all()
    return obs


def labels_of(obs, *parts):
    return set(obs.loc[obs["part"].isin(parts) & ~obs["is_control"], "perturbation"].astype(str))


@UNTIMED
@given(screens(), FRACTIONS, st.floats(0.05, 0.6), PROTOCOLS)
def test_training_sees_no_test_combination_below_fraction_one(case, fraction, share, protocol):
    if fraction is not None:
        share = 0.25
    obs = cut(unseen_combination, case, protocol, fraction=fraction, share=share)
    if obs is None:
        return
    tested = labels_of(obs, "heldout_fit", "heldout_score")
    trained = labels_of(obs, "train", "val", "fit", "score")
    assert all(len(parts_of(name)) > 1 for name in tested | labels_of(obs, "unused"))
    if fraction is None or fraction < 1:
        assert not tested & trained
    if fraction is None:
        assert not obs["held"].isna().any()
        assert {part for name in tested for part in parts_of(name)} <= trained


@UNTIMED
@given(screens(), st.floats(0, 1), st.sampled_from(["perturbations", "combinations"]), PROTOCOLS)
def test_few_cells_are_used_and_the_rest_is_left_aside(case, share, only, protocol):
    obs = cut(low_data, case, protocol, share=share, only=only)
    if obs is None:
        return
    thinned = ~obs["is_control"] & (
        obs["perturbation"].astype(str).map(lambda name: only == "perturbations" or len(parts_of(name)) > 1)
    )
    assert (obs.loc[~thinned, "held"] == False).all()  # noqa: E712 - neither True nor NA
    for _, own in obs[thinned].groupby(["perturbation", "context"], observed=True):
        held, used = int(own["held"].fillna(False).sum()), int(own["held"].eq(False).fillna(False).sum())
        assert abs(held - 0.2 * len(own)) <= 0.5
        assert used == np.ceil(share * (len(own) - held))
