"""Every metric keeps its value under the changes of the latents it declares, and stays in its declared range."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _responses import with_responses
from _worlds import QUICK, haar, masks, sparse_targets, world
from _worlds import member as make_member
from scident import registry
from scident.errors import NotApplicable
from scident.types import Targets

N_PERTS, N_FACTORS, CELLS = 10, 4, 600
# equal up to rounding: closed forms of correlations, ranks and sets
EXACT = 1e-9
# these choose a penalty or stop a solver, and single cells may tip over
LEARNED = dict.fromkeys(("r2_linear", "probe_z_perturbation", "probe_blocks"), 0.02)
# the rank of a kernel matrix depends on rounding
LEARNED |= dict.fromkeys(("block_r2", "block_matrix", "block_leak"), 0.005)
# counts of permutations whose statistic ties the observed one up to rounding
LEARNED |= {"hsic_strat": 0.03, "asw": 1e-6}

METRICS = registry.known("metrics")
INFO = {name: registry.describe("metrics", name) for name in METRICS}
DECLARED = [(name, change) for name in METRICS for change in INFO[name].invariant_to]
BLOCKS = ("x", "tx", "t", "tx")


def changed(change, z, rng):
    """Return changed latents and the old column of each new one."""
    d = z.shape[1]
    same, scale = np.arange(d), np.exp(rng.uniform(-2, 2, d))
    if change == "permutation":
        order = rng.permutation(d)
        return z[:, order], order
    if change == "sign":
        return z * rng.choice([-1.0, 1.0], d), same
    if change == "scale":
        return z * scale, same
    if change == "affine":
        return z * scale * rng.choice([-1.0, 1.0], d) + rng.uniform(-3, 3, d), same
    if change == "monotone":
        return np.where(same % 2, np.exp(z), z**3 + z), same
    if change == "linear":
        return z @ haar(d, rng) @ np.diag(rng.uniform(0.5, 2, d)) @ haar(d, rng), same
    raise AssertionError(f"unknown invariance {change!r}: give it a meaning here and in scident.info")


def transform(member, change, rng):
    z, order = changed(change, member.z, rng)
    said = member.targets
    moved = None if said is None else Targets(said.score[:, order], said.on[:, order], said.source)
    return replace(member, z=z, targets=moved, blocks=tuple(member.blocks[column] for column in order))


def inputs_of(seed, name, *, with_targets, heldout=0):
    rng = np.random.default_rng(seed)
    truth = sparse_targets(N_PERTS, N_FACTORS, rng)
    label = np.arange(CELLS) % N_PERTS
    z = rng.standard_normal((CELLS, N_FACTORS)) + (2 * truth * rng.choice([-1, 1], truth.shape))[label]
    members = []
    for number in range(2 if INFO[name].over == "seeds" else 1):
        seen = z @ (np.eye(N_FACTORS) + 0.2 * rng.standard_normal((N_FACTORS, N_FACTORS)))
        said = masks(np.clip(truth + 0.3 * rng.standard_normal(truth.shape), 0, 1)) if with_targets else None
        costs = {name: rng.uniform(50, 60, CELLS) for name in ("nelbo", "zero_shot", "finetuned_half")}
        given = {"label_conditioned": True, "adapts": True, **costs} if heldout else {"nelbo": costs["nelbo"]}
        members.append(make_member(seen + 0.5 * rng.standard_normal(z.shape), seed=number, targets=said, **given))
    scope = "ood" if heldout else "iid"
    members = [replace(member, blocks=BLOCKS) for member in members]
    contexts = 1 if "predictions" in INFO[name].needs else 2  # conditions of 30 cells, or of 15
    size = {"n_perts": N_PERTS, "n_contexts": contexts, "blocks": BLOCKS, "heldout": heldout}
    return with_responses(world(z, *members, truth=truth, scope=scope, **size), seed)


def score(name, inputs):
    module = registry.load("metrics", name)
    try:
        return module.score(inputs, module.Params(**QUICK.get(name, {})), np.random.default_rng(0))
    except NotApplicable as refusal:
        pytest.skip(f"{name} needs more than these inputs hold: {refusal.reason}")


def values_of(name, inputs):
    found = score(name, inputs)
    return {(v.variant, v.perturbation): v.value for v in found if not v.missing}


@pytest.mark.parametrize(
    ("name", "change", "with_targets"),
    [(n, c, given) for n, c in DECLARED for given in ([True, False] if "target" in n else [False])],
)
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_metric_keeps_its_value_under_declared_change(name, change, with_targets, seed):
    inputs = inputs_of(seed, name, with_targets=with_targets)
    rng = np.random.default_rng(seed)
    moved = replace(inputs, members=tuple(transform(m, change, rng) for m in inputs.members))
    before, after = values_of(name, inputs), values_of(name, moved)
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert after[key] == pytest.approx(value, abs=LEARNED.get(name, EXACT)), key


@pytest.mark.parametrize(("name", "change"), [(n, c) for n, c in DECLARED if n in ("nelbo", "iwelbo")])
def test_bounds_of_held_out_perturbations_keep_their_values_under_declared_change(name, change):
    inputs = inputs_of(0, name, with_targets=False, heldout=3)
    moved = replace(inputs, members=(transform(inputs.member, change, np.random.default_rng(0)),))
    before = values_of(name, inputs)
    assert {variant for variant, _ in before} == {"zero_shot", "finetuned_half"}
    assert before == values_of(name, moved)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), with_targets=st.booleans())
def test_metric_stays_in_range_repeats_and_reports_its_variants(name, seed, with_targets):
    info = registry.describe("metrics", name)
    inputs = inputs_of(seed, name, with_targets=with_targets)
    found = values_of(name, inputs)
    assert found == values_of(name, inputs)
    reported = {value.variant for value in score(name, inputs) if value.perturbation is None}
    assert reported == set(info.variants_on("iid"))
    low, high = info.range
    assert all(low <= value <= high for value in found.values())


IDENTIFIABILITY = [n for n in METRICS if {"latents", "truth"} <= set(registry.describe("metrics", n).needs)]


@pytest.mark.parametrize("name", [n for n in IDENTIFIABILITY if registry.describe("metrics", n).better != "neither"])
def test_truth_outranks_random_latents(name):
    info = registry.describe("metrics", name)
    rng = np.random.default_rng(0)
    inputs = inputs_of(0, name, with_targets=False)
    oracle, noise = (
        replace(inputs, members=(replace(make_member(z), blocks=BLOCKS),))
        for z in (inputs.z_true, rng.standard_normal(inputs.z_true.shape))
    )
    best, worst = values_of(name, oracle), values_of(name, noise)
    direction = {"higher": 1, "lower": -1}[info.better]
    assert all(direction * (best[key] - worst[key]) > 0.1 for key in best)
