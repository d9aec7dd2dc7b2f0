"""Terms of FCR's objective against their definitions (fcr.md §5, §11)."""

import math

import pytest
import torch
from torch.nn.functional import one_hot

from scident.models import _fcr_terms as terms
from scident.models._fcr_terms import Gaussian

DOUBLE = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(seed, *shape):
    g = generator(seed)
    mean = torch.randn(*shape, generator=g, dtype=DOUBLE)
    return Gaussian(mean, 0.5 * torch.randn(*shape, generator=g, dtype=DOUBLE) - 0.3)


@pytest.fixture
def q():
    return gaussian(0, 2, 3, 4)


@pytest.fixture
def p():
    return gaussian(1, 2, 3, 4)


def test_kl_is_torchs(q, p):
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.mean, q.log_sd.exp()), torch.distributions.Normal(p.mean, p.log_sd.exp())
    )
    torch.testing.assert_close(terms.kl(q, p), expected)


def test_kl_is_the_mean_log_ratio_of_draws_within_a_percent(q, p):
    z = q.mean + q.log_sd.exp() * torch.randn(40_000, *q.mean.shape, generator=generator(2), dtype=DOUBLE)
    log_q, log_p = (torch.distributions.Normal(one.mean, one.log_sd.exp()).log_prob(z) for one in (q, p))
    ratio = (log_q - log_p).flatten(1).sum(1)
    expected = float(terms.kl(q, p).sum())
    assert float(ratio.std()) / math.sqrt(len(ratio)) < 0.0025 * expected  # so that a percent is four standard errors
    assert float(ratio.mean()) == pytest.approx(expected, rel=0.01)


def test_log_density_is_torchs_but_for_its_constant(q):
    z = torch.randn(q.mean.shape, generator=generator(5), dtype=DOUBLE)
    expected = torch.distributions.Normal(q.mean, q.log_sd.exp()).log_prob(z) + 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(q.log_density(z), expected.sum(1))


def test_released_kl_is_the_authors_formula_and_not_the_kl(q, p):
    sd_q, sd_p = q.log_sd.exp(), p.log_sd.exp()
    expected = -0.5 * (1 + (sd_p**2).log() - (sd_q**2).log() - (p.mean - q.mean) ** 2 - sd_p**2 / sd_q**2)
    torch.testing.assert_close(terms.released_kl(q, p), expected)
    assert not torch.allclose(terms.released_kl(q, p), terms.kl(q, p), rtol=0.1)


def test_marginal_kl_averages_the_cells_of_each_group(q, p):
    codes = torch.tensor([[0, 2, 2, 0], [1, 1, 1, 1]])

    def averaged(one, k, own):
        sd = one.log_sd[k].exp()[:, own].mean(1)
        return Gaussian(one.mean[k][:, own].mean(1)[None, :, None], sd.log()[None, :, None])

    expected = [
        sum(
            float(terms.released_kl(averaged(q, k, codes[k] == c), averaged(p, k, codes[k] == c)).sum())
            for c in set(codes[k].tolist())
        )
        for k in (0, 1)
    ]
    torch.testing.assert_close(terms.marginal_kl(q, p, codes, 3), torch.tensor(expected, dtype=DOUBLE))


def test_identical_latents_have_similarity_zero(q):
    both = q.mean[:, :2], q.mean[:, 2:]
    everyone = torch.ones(2, 4, dtype=torch.bool)
    torch.testing.assert_close(terms.similarity(both, both, everyone, everyone), torch.zeros(2, dtype=DOUBLE))


def test_orthogonal_z_t_and_equal_z_x_have_similarity_minus_one():
    z_x, everyone = torch.randn(1, 3, 5, generator=generator(), dtype=DOUBLE), torch.ones(1, 5, dtype=torch.bool)
    along, across = (torch.zeros(1, 2, 5, dtype=DOUBLE) for _ in range(2))
    along[:, 0], across[:, 1] = 2.0, 3.0
    found = terms.similarity((z_x, along), (z_x, across), everyone, everyone)
    torch.testing.assert_close(found, torch.tensor([-1.0], dtype=DOUBLE))


def test_similarity_skips_cells_without_a_partner_and_z_t_of_controls():
    z_x = torch.ones(1, 2, 4, dtype=DOUBLE)
    z_t = torch.ones(1, 2, 4, dtype=DOUBLE)
    partner = torch.tensor([[True, True, False, True]])
    treated = torch.tensor([[True, False, True, False]])
    # one of three partnered cells is treated: its z_t agrees (+1), and z_x agrees for all (-1)
    found = terms.similarity((z_x, z_t), (z_x, z_t), partner, treated)
    assert float(found) == pytest.approx(1 / 3 - 1)
    turned = terms.similarity((z_x, z_t), (-z_x, z_t), partner, treated)
    assert float(turned) == pytest.approx(1 / 3 + 1)
    none = torch.zeros_like(partner)
    assert float(terms.similarity((z_x, z_t), (z_x, z_t), none, treated)) == 0


def test_label_loss_is_cross_entropy_and_twice_flattens_it():
    logits = 3 * torch.randn(2, 4, 6, generator=generator(), dtype=DOUBLE)
    codes = torch.randint(4, (2, 6), generator=generator())
    on = one_hot(codes, 4).transpose(1, 2)
    expected = -(logits.log_softmax(1) * on).sum(1).mean(1)
    torch.testing.assert_close(terms.label_loss(logits, codes), expected)
    flattened = -(logits.softmax(1).log_softmax(1) * on).sum(1).mean(1)
    torch.testing.assert_close(terms.label_loss(logits, codes, twice=True), flattened)
    sure = 1e3 * on.to(DOUBLE)
    assert float(terms.label_loss(sure, codes).sum()) == 0
    # a sure and right classifier still pays: ln(1 + 3/e)
    assert float(terms.label_loss(sure, codes, twice=True)[0]) == pytest.approx(math.log(1 + 3 / math.e))


def groups(members=3, cells=300, kinds=7, seed=0):
    g = generator(seed)
    codes = torch.randint(kinds, (members, cells), generator=g)
    codes[:, 0] = kinds  # alone in its group
    order = torch.stack([torch.randperm(cells, generator=g) for _ in range(members)])
    return codes, order


def test_derangement_keeps_the_cells_of_each_group_and_moves_all_that_have_company():
    codes, order = groups()
    partner, counted = terms.derangement(codes, order)
    for k in range(len(codes)):
        assert sorted(partner[k].tolist()) == list(range(codes.shape[1]))
        assert torch.equal(codes[k][partner[k]], codes[k])
    moved = partner != torch.arange(codes.shape[1])
    assert torch.equal(moved, counted)
    assert not counted[:, 0].any()
    assert counted[:, 1:].all()
    values = torch.randn(3, 2, 300, generator=generator(), dtype=DOUBLE)
    looked = terms.looked_up(values, partner)
    assert float((looked != values).any(1)[:, 1:].double().mean()) >= 0.9
    for k in range(3):
        for code in range(7):
            own = codes[k] == code
            assert torch.equal(looked[k][:, own].sort(1).values, values[k][:, own].sort(1).values)


def test_derangement_of_a_member_does_not_depend_on_the_others():
    codes, order = groups()
    together = terms.derangement(codes, order)
    for k in range(len(codes)):
        alone = terms.derangement(codes[k : k + 1], order[k : k + 1])
        assert torch.equal(together[0][k], alone[0][0])
        assert torch.equal(together[1][k], alone[1][0])


def test_every_other_cell_of_the_group_is_looked_at_equally_often():
    codes = torch.tensor([[0, 1, 0, 0, 1, 0]]).expand(6000, -1)
    order = torch.rand(6000, 6, generator=generator()).argsort(1)
    partner, _ = terms.derangement(codes, order)
    share = one_hot(partner[:, 0], 6).double().mean(0)
    # a share of a third over 6,000 draws has standard error 0.006
    torch.testing.assert_close(share, torch.tensor([0, 0, 1, 1, 0, 1], dtype=DOUBLE) / 3, atol=0.025, rtol=0)


def test_pair_loss_is_binary_cross_entropy_over_counted_cells():
    g = generator()
    real, made = (torch.randn(2, 8, generator=g, dtype=DOUBLE) for _ in range(2))
    counted = torch.rand(2, 8, generator=g) < 0.6
    found = terms.pair_loss(real, made, counted)
    for k in range(2):
        logits = torch.cat([real[k][counted[k]], made[k][counted[k]]])
        truth = torch.cat([torch.ones(int(counted[k].sum())), torch.zeros(int(counted[k].sum()))]).double()
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
        torch.testing.assert_close(found[k], expected)
    blank = torch.zeros(2, 8, dtype=DOUBLE)
    torch.testing.assert_close(terms.pair_loss(blank, blank, counted), torch.full((2,), math.log(2), dtype=DOUBLE))
    assert float(terms.pair_loss(real, made, torch.zeros_like(counted)).abs().sum()) == 0
