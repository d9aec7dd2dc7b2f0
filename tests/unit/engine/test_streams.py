import numpy as np
import pytest
import torch

from _tiny import streams


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_keep_drops_at_its_rate_and_keeps_the_mean(rate):
    mask = streams(0, 1).keep(rate, 300, 301)
    n = mask.numel()
    se = np.sqrt(rate * (1 - rate) / n)
    assert abs(float((mask == 0).double().mean()) - rate) < 4 * se
    torch.testing.assert_close(mask.max(), torch.tensor(1 / (1 - rate), dtype=torch.float64))
    assert set(mask.unique().tolist()) == {0.0, float(mask.max())}


def test_keep_without_dropout_keeps_everything():
    assert torch.equal(streams(0).keep(0.0, 9, 7), torch.ones(1, 9, 7, dtype=torch.float64))


def test_normal_and_logistic_have_their_moments():
    s = streams(0)
    n = 40_000
    z, e = s.normal(n), s.logistic(n)
    # variance of a variance estimate: 2 σ⁴ / n for the normal; logistic: σ² = π²/3, kurtosis 4.2, (4.2 - 1) σ⁴ / n
    assert abs(float(z.mean())) < 4 / np.sqrt(n)
    assert abs(float(z.var()) - 1) < 4 * np.sqrt(2 / n)
    assert abs(float(e.mean())) < 4 * np.pi / np.sqrt(3 * n)
    assert abs(float(e.var()) - np.pi**2 / 3) < 4 * np.sqrt(3.2 / n) * np.pi**2 / 3


def test_logistic_is_finite_in_single_precision():
    assert torch.isfinite(streams(0, dtype=torch.float32).logistic(1_000_000)).all()


def test_permutations_hold_every_cell_once():
    assert torch.equal(streams(0, 1).permutations(50).sort(1).values, torch.arange(50).expand(2, -1))


def drawn(s):
    return torch.cat([s.permutations(10).double(), s.normal(6), s.logistic(6), s.keep(0.5, 9)], dim=1)


def test_a_member_draws_the_same_whoever_its_companions_are():
    alone, together = drawn(streams(7)), drawn(streams(1, 7, 3))
    assert torch.equal(alone[0], together[1])


def test_members_draw_differently():
    rows = drawn(streams(1, 2, 3))
    assert not any(torch.equal(rows[i], rows[j]) for i in range(3) for j in range(i))


def test_an_epoch_draws_the_same_after_a_resume():
    undisturbed, resumed = streams(4), streams(4)
    undisturbed.start(1, 0)
    drawn(undisturbed)
    undisturbed.start(1, 5)
    resumed.start(1, 5)
    assert torch.equal(drawn(undisturbed), drawn(resumed))


@pytest.mark.parametrize("other", [(1, 6), (2, 5)])
def test_epochs_and_purposes_draw_differently(other):
    a, b = streams(4), streams(4)
    a.start(1, 5)
    b.start(*other)
    assert not torch.equal(drawn(a), drawn(b))


def test_select_drops_members_and_leaves_the_others():
    whole, fewer = streams(1, 2, 3), streams(1, 2, 3)
    fewer.select([0, 2])
    assert torch.equal(drawn(whole)[[0, 2]], drawn(fewer))
