"""A prior that knows the context beside the perturbation."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from _tiny import member, pairs, params_of
from scident import io
from scident.models._joint_label import joined
from scident.models.ivae_fixed import FixedIVAE

PERTURBATIONS, CONTEXTS = 4, 3
BOTH = "context+perturbation"


def one(label=BOTH, seed=0):
    params = params_of("ivae_fixed", label=label, epochs=3, learning_rate=2e-2, batch_size=32)
    return member(pairs(), params, seed, name=f"r0.g0.s{seed}")


@cache
def trained():
    start = one()
    (fitted,) = FixedIVAE.fit_members([start])
    (again,) = FixedIVAE.retrain_members([start], [fitted], published=False)
    return again.model


def test_joined_numbers_every_pair_and_copies_no_expression():
    cells = pairs().train
    found = joined(cells)
    label, context = cells.obs["perturbation"].cat.codes, cells.obs["context"].astype("category").cat.codes
    np.testing.assert_array_equal(found.obs["perturbation"].cat.codes, label.to_numpy() * CONTEXTS + context.to_numpy())
    assert len(found.obs["perturbation"].cat.categories) == PERTURBATIONS * CONTEXTS
    assert np.shares_memory(found.X, cells.X)


def test_members_of_one_world_share_the_joined_cells(monkeypatch):
    seen = []
    monkeypatch.setattr("scident.models.ivae_fixed.IVAE.fit_members", lambda members, _: seen.extend(members) or [])
    first = one()
    FixedIVAE.fit_members([first, replace(first, id="r0.g0.s1")])
    assert seen[0].train is seen[1].train


def test_a_shift_for_every_pair_and_no_targets():
    model = trained()
    assert model.state["shift"].shape[0] == PERTURBATIONS * CONTEXTS
    assert model.targets() is None
    (plain,) = FixedIVAE.fit_members([one("perturbation")])
    assert plain.model.state["shift"].shape[0] == PERTURBATIONS
    assert plain.model.targets() is not None


def test_the_bound_depends_on_the_context_of_a_cell():
    model, cells = trained(), pairs().val
    moved = cells.copy()
    moved.obs["context"] = np.roll(cells.obs["context"].astype(str).to_numpy(), 1)
    moved.obs["context"] = moved.obs["context"].astype("category")
    bounds = [model.likelihood(c, np.random.default_rng(0)).nelbo for c in (cells, moved)]
    changed = (cells.obs["context"].astype(str) != moved.obs["context"].astype(str)).to_numpy()
    assert changed.any()
    assert (bounds[0][changed] != bounds[1][changed]).all()
    np.testing.assert_array_equal(bounds[0][~changed], bounds[1][~changed])


def test_adapting_moves_the_unseen_pair_alone():
    ready, request = trained().prepared(), pairs().request
    unseen = (request.scored.obs["perturbation"] == "c") & (request.scored.obs["context"] == "z")
    adapted = ready.adapt(io.subset(request.scored, unseen.to_numpy()), np.random.default_rng(0))
    moved = np.flatnonzero((adapted.state["shift"] != ready.state["shift"]).any(axis=1))
    codes = request.scored.obs["perturbation"].cat.codes[unseen].to_numpy(dtype=int) * CONTEXTS + CONTEXTS - 1
    np.testing.assert_array_equal(moved, np.unique(codes))


def test_other_labels_are_refused():
    with pytest.raises(ValueError, match="label"):
        params_of("ivae_fixed", label="context")
