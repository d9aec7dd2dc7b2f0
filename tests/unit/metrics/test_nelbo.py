import numpy as np
import pytest

from _worlds import gaussian, labels, member, value, world
from scident.errors import NonFiniteError, NotApplicable
from scident.metrics import nelbo

Z = gaussian(400, 2)


def costs(n_perts=10):
    """Cost of a cell is the number of its perturbation, plus or minus a half."""
    return labels(400, n_perts)[2] + np.where(np.arange(400) // n_perts % 2, 0.5, -0.5)


def test_nelbo_is_mean_of_perturbation_means():
    found = nelbo.score(world(None, member(Z, nelbo=costs())), nelbo.Params(), np.random.default_rng(0))
    aggregate = found[-1]
    assert [v.perturbation for v in found] == [*(f"p{i:03d}" for i in range(10)), None]
    assert [v.value for v in found[:-1]] == pytest.approx(range(10))
    assert (aggregate.value, aggregate.n, aggregate.note) == (pytest.approx(4.5), 10, "median=4.5")
    # 20 cells a perturbation, sd √(20/19)/2 each; ten perturbations
    assert aggregate.se == pytest.approx(np.sqrt(20 / 19) / 2 / np.sqrt(20) / np.sqrt(10))


def test_nelbo_drops_perturbations_with_ten_cells():
    inputs = world(None, member(Z, nelbo=costs()))
    first = np.flatnonzero((inputs.obs["part"] == "score") & (inputs.obs["perturbation"] == "p000"))
    inputs.obs.iloc[first[:10], inputs.obs.columns.get_loc("part")] = "train"
    found = value(nelbo, inputs)
    assert (found.value, found.n) == (pytest.approx(np.arange(1, 10).mean()), 9)


def test_nelbo_counts_cells_beyond_the_cap_of_other_metrics():
    full = world(None, member(Z, nelbo=costs()))
    capped = type(full)(**{**vars(full), "score": full.score[:60]})
    assert value(nelbo, capped) == value(nelbo, full)


def test_nelbo_refuses_what_is_undefined():
    with pytest.raises(NotApplicable, match="no_likelihood"):
        value(nelbo, world(None, member(Z)))
    with pytest.raises(NotApplicable, match="too_few_cells"):
        value(nelbo, world(None, member(Z[:80], nelbo=costs()[:80])))
    with pytest.raises(NotApplicable, match="too_few_cells"):
        value(nelbo, world(None, member(Z, nelbo=costs()), n_perts=100))


def test_nelbo_fails_on_nan():
    with pytest.raises(NonFiniteError, match="nonfinite_nelbo"):
        value(nelbo, world(None, member(Z, nelbo=np.where(np.arange(400) == 399, np.nan, 1.0))))
