"""Every metric keeps its word; a new file in ``metrics/`` is tested here without an edit.

Declared invariances, ranges and variants are tested in ``tests/property/test_metric_invariances.py``.
"""

from dataclasses import replace

import numpy as np
import pytest

from _responses import with_responses
from _worlds import QUICK, gaussian, masks, member, sparse_targets, world
from scident import registry
from scident.errors import NonFiniteError, NotApplicable
from scident.metrics.base import SCOPES, Value

BLOCKS = ("x", "tx", "t", "tx")
NAMES = registry.known("metrics")
NEEDS = {"latents", "truth", "blocks", "targets", "likelihood", "predictions", "labels"}
INVARIANCES = {"permutation", "sign", "scale", "affine", "monotone", "linear"}

pytestmark = pytest.mark.parametrize("name", NAMES)


def score(name, inputs, seed=0):
    module = registry.load("metrics", name)
    return module.score(inputs, module.Params(**QUICK.get(name, {})), np.random.default_rng(seed))


def needing(*needs):
    return lambda name: bool(set(needs) & set(registry.describe("metrics", name).needs))


def inputs_of(name, *, cells=600, scope="iid", truth=True, likelihood=True, heldout=0, predictions=True, blocks=True):
    rng = np.random.default_rng(0)
    targets = sparse_targets(10, 4, rng)
    z = gaussian(cells, 4) + 2.0 * targets[np.arange(cells) % 10]
    members = [
        member(z + 0.3 * gaussian(cells, 4, seed), seed=seed, targets=masks(targets), nelbo=rng.uniform(5, 6, cells))
        for seed in range(2 if registry.describe("metrics", name).over == "seeds" else 1)
    ]
    if not likelihood:
        members = [replace(m, likelihood={}) for m in members]
    if blocks:
        members = [replace(m, blocks=BLOCKS) for m in members]
    known = {"truth": targets, "blocks": BLOCKS if blocks else None} if truth else {}
    known["n_contexts"] = 1 if needing("predictions")(name) else 2  # conditions of 30 cells, or of 15
    found = world(z if truth else None, *members, scope=scope, n_perts=10, heldout=heldout, **known)
    return with_responses(found) if predictions else found


def test_info_is_complete(name):
    info = registry.describe("metrics", name)
    assert info.label
    assert info.source
    assert info.formula
    assert set(info.needs) <= NEEDS
    assert set(info.invariant_to) <= INVARIANCES
    assert set(info.scopes) <= set(SCOPES)
    assert info.range[0] < info.range[1]
    assert info.better in {"higher", "lower", "neither"}
    assert info.over in {"member", "seeds"}
    assert info.variants
    assert all(
        info.range[0] <= anchor <= info.range[1] for anchor in (info.no_skill, info.ceiling) if anchor is not None
    )
    assert registry.load("metrics", name).info == info


def test_params_describe_every_field_and_refuse_others(name):
    params = registry.load("metrics", name).Params
    assert all(field.description for field in params.model_fields.values())
    assert params.model_config["extra"] == "forbid"
    assert params.model_config["frozen"]


@pytest.mark.parametrize("scope", SCOPES)
def test_score_gives_values_or_a_reason_on_each_of_its_scopes(name, scope):
    info = registry.describe("metrics", name)
    if scope not in info.scopes:
        return
    found, reason = [], ""
    try:
        found = score(name, inputs_of(name, scope=scope, heldout=2))
    except NotApplicable as refusal:
        reason = refusal.reason
    assert found or reason
    assert all(isinstance(value, Value) for value in found)
    assert {value.variant for value in found} <= set(info.variants)
    for value in found:
        if not value.missing:
            assert info.range[0] <= value.value <= info.range[1]
            assert value.se is None or value.se >= 0
            assert value.n > 0


def test_score_repeats_with_the_same_seed(name):
    first, again = (score(name, inputs_of(name), seed=3) for _ in range(2))
    assert first == again


def test_score_leaves_its_inputs_as_they_are(name):
    inputs = inputs_of(name)
    before = [m.z.copy() for m in inputs.members], inputs.obs.copy()
    score(name, inputs)
    assert all(np.array_equal(m.z, z) for m, z in zip(inputs.members, before[0], strict=True))
    assert inputs.obs.equals(before[1])


def test_score_without_truth_does_not_apply_where_truth_is_needed(name):
    if needing("truth")(name):
        with pytest.raises(NotApplicable, match="no_truth"):
            score(name, inputs_of(name, truth=False))
    else:
        assert score(name, inputs_of(name, truth=False))


def test_score_without_likelihood_does_not_apply_where_it_is_needed(name):
    if needing("likelihood")(name):
        with pytest.raises(NotApplicable, match="no_likelihood"):
            score(name, inputs_of(name, likelihood=False))
    else:
        assert score(name, inputs_of(name, likelihood=False))


def test_score_without_predictions_does_not_apply_where_they_are_needed(name):
    if needing("predictions")(name):
        with pytest.raises(NotApplicable, match="no_prediction"):
            score(name, inputs_of(name, predictions=False))
    else:
        assert score(name, inputs_of(name, predictions=False))


def test_score_without_blocks_does_not_apply_where_they_are_needed(name):
    if needing("blocks")(name):
        with pytest.raises(NotApplicable, match="no_blocks"):
            score(name, inputs_of(name, blocks=False))
    else:
        assert score(name, inputs_of(name, blocks=False))


def test_score_without_latents_does_not_apply_where_they_are_needed(name):
    if not needing("latents")(name):
        return
    inputs = inputs_of(name)
    bare = tuple(replace(member, z=np.empty((len(member.z), 0)), targets=None) for member in inputs.members)
    with pytest.raises(NotApplicable, match="no_latents"):
        score(name, replace(inputs, members=bare))


def test_score_of_few_cells_does_not_apply(name):
    with pytest.raises(NotApplicable, match="too_few_cells"):
        score(name, inputs_of(name, cells=40))


def test_score_of_latents_that_are_not_finite_fails(name):
    if not needing("latents")(name):
        return
    inputs = inputs_of(name)
    broken = inputs.members[0].z.copy()
    broken[:, 0] = np.nan
    with pytest.raises(NonFiniteError, match="nonfinite_latents"):
        score(name, replace(inputs, members=(replace(inputs.members[0], z=broken), *inputs.members[1:])))
