import sys

import numpy as np
import pytest
from scipy.stats import kstest

from _worlds import blocked, factorised
from scident.errors import NotApplicable
from scident.metrics import _independence, rcit


def p_value(u, v, given, seed):
    return rcit._p(rcit._library(), u, v, given, np.random.default_rng(seed))


def chain(seed, direct, n=300):
    """Two children of one parent, the second with an arrow from the first if `direct`."""
    z, e, f = np.random.default_rng(seed).standard_normal((3, n, 1))
    x = z + e
    # a parent of real values has one column of levels; a second one makes it a condition
    return x, z + f + direct * x, np.hstack([z, -z])


def test_chain_is_found_independent_given_its_parent_and_an_arrow_is_found():
    without, arrow = ([p_value(*chain(seed, direct), seed) for seed in range(60)] for direct in (0.0, 0.5))
    # simulated with 60 repeats: 3 % and 100 %; standard error at 5 % is 2.8 %
    assert np.mean(np.array(without) < 0.05) <= 0.12
    assert np.mean(np.array(arrow) < 0.05) >= 0.95
    assert np.mean([p_value(x, y, np.ones((300, 1)), 0) for x, y, _ in map(chain, range(5), [0.0] * 5)]) < 0.01


def test_p_values_within_strata_are_about_uniform():
    p = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        label = rng.integers(4, size=400)
        u, v = (rng.standard_normal((400, 2)) + 2 * label[:, None] for _ in range(2))
        p.append(p_value(u, v, np.eye(4)[label], seed))
    assert kstest(p, "uniform").pvalue > 0.01


def test_statements_of_a_factorised_world_come_out_right():
    z = factorised(2400)
    values = rcit.score(blocked(z, z), rcit.Params(null_simulations=5), np.random.default_rng(0))
    found = {value.variant: value.value for value in values}
    for hypothesis in _independence.HYPOTHESES:
        assert (found[f"{hypothesis.name}:p"] > 0.01) == hypothesis.independent, hypothesis.name
        assert found[f"{hypothesis.name}:null_rejected"] <= 0.4, hypothesis.name
    assert all(found[f"{h.name}:p_holm"] >= found[f"{h.name}:p"] for h in _independence.HYPOTHESES)


def test_features_come_from_the_stream_given_and_the_global_state_stays_as_it_is():
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - looked at, not drawn from
    u, v, given = chain(0, 0.0)
    assert p_value(u, v, given, 1) == p_value(u, v, given, 1)
    assert p_value(u, v, given, 1) != p_value(u, v, given, 2)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002 - as above


def test_rows_are_permuted_inside_their_stratum():
    strata = np.random.default_rng(0).integers(3, size=50)
    order = rcit._shuffled(strata, np.random.default_rng(1))
    assert sorted(order) == list(range(50))
    assert (strata[order] == strata).all()
    assert (order != np.arange(50)).mean() > 0.8


def test_without_the_library_it_does_not_apply(monkeypatch):
    monkeypatch.setitem(sys.modules, "causallearn.utils.RCIT", None)
    z = factorised(800)
    with pytest.raises(NotApplicable, match="causal_learn_missing"):
        rcit.score(blocked(z, z), rcit.Params(), np.random.default_rng(0))


def test_statements_about_one_context_are_refused():
    z = factorised(800, n_contexts=1)
    params = rcit.Params(null_simulations=1)
    values = rcit.score(blocked(z, z, n_contexts=1), params, np.random.default_rng(0))
    missing = {value.variant: value.missing for value in values}
    assert missing["z_x-x:p"] == missing["z_tx-x|t:null_rejected"] == "one_context"
    assert not missing["z_x-t|x:p"]
