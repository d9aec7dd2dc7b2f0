"""True latents of the factorised simulator are as independent, and as dependent, as its graph says (fcr.md §2)."""

from dataclasses import replace

import numpy as np
import pytest

from scident.metrics import hsic_strat, rcit
from scident.metrics._independence import HYPOTHESES
from scident.metrics.base import Inputs, Member
from scident.simulators.factorised import Params, simulate

BLOCKS = ("x",) * 3 + ("tx",) * 4 + ("t",) * 3


def inputs_of(seed, cells=100, **params):
    """True latents of a world of the default size but for its cells; half of them learned on, half scored."""
    adata = simulate(Params(cells_per_condition=cells, **params), np.random.default_rng(seed))
    z = np.asarray(adata.obsm["z_true"])
    rows = np.arange(len(z))
    return Inputs(
        scope="iid",
        obs=adata.obs.assign(part=np.where(rows % 2, "score", "fit")),
        fit=rows[::2],
        score=rows[1::2],
        perturbations=tuple(adata.obs["perturbation"].cat.categories),
        trained=np.ones(6, bool),
        members=(Member(0, "default", 0, z, blocks=BLOCKS),),
        z_true=z,
        blocks_true=BLOCKS,
    )


@pytest.fixture(scope="module")
def worlds():
    return [inputs_of(seed) for seed in range(4)]


def scores(inputs):
    params = hsic_strat.Params(permutations=199, cells_per_stratum=200)
    found = hsic_strat.score(inputs, params, np.random.default_rng(0))
    return {value.variant: value.value for value in found}


def test_five_independences_hold_and_four_dependences_are_found(worlds):
    found = [scores(inputs) for inputs in worlds]
    for hypothesis in HYPOTHESES:
        p = [one[f"{hypothesis.name}:p"] for one in found]
        ratio = np.mean([one[f"{hypothesis.name}:ratio"] for one in found])
        if hypothesis.independent:
            # 20 tests at 5 %: that two worlds of four reject one statement has probability 1.4 %
            assert sum(np.array(p) <= 0.05) <= 1, hypothesis.name
            assert ratio == pytest.approx(1, abs=0.2), hypothesis.name
        else:
            assert max(p) == 1 / 200, hypothesis.name
            assert ratio > 3, hypothesis.name
    assert all(one["independent:rejected"] == 0 and one["dependent:rejected"] == 4 for one in found)
    assert all(one["independent:largest_effect"] < one["dependent:smallest_effect"] for one in found)


def test_independences_hold_where_latents_of_a_block_depend_on_each_other():
    assert scores(inputs_of(5, mix_block=True))["independent:rejected"] == 0


def test_swapping_latents_between_blocks_is_found(worlds):
    inputs = worlds[0]
    z = inputs.member.z[:, [3, 1, 2, 0, *range(4, 10)]]  # the first latents of x and tx change places
    found = scores(replace(inputs, members=(replace(inputs.member, z=z),)))
    assert found["z_x-t|x:p_holm"] < 0.05
    assert found["independent:rejected"] >= 1


def test_second_opinion_agrees(worlds):
    found = rcit.score(worlds[0], rcit.Params(null_simulations=5), np.random.default_rng(0))
    p = {value.variant: value.value for value in found}
    for hypothesis in HYPOTHESES:
        assert (p[f"{hypothesis.name}:p"] > 0.01) == hypothesis.independent, hypothesis.name


def test_shuffled_treatments_leave_nothing_to_find_of_them():
    """Control n4: labels t are permuted within contexts, so the true z_t no longer depends on them."""
    found = scores(inputs_of(6, shuffle_treatments=True))
    assert found["z_t-t:p"] > 0.01
    assert found["z_tx-t|x:p"] > 0.01
    assert found["z_x-x:p"] == 1 / 200
