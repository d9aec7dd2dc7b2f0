"""Members of the family beside sVAE+, and the switches of their objectives (svae.md §2-4)."""

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Beta, kl_divergence

from _tiny import batch_of, member, params_of, stack_of, streams, world
from scident import registry
from scident.models import beta_vae, ivae_fixed, ivae_released, svae, svae_plus, vae
from scident.models._count_vae import CountVAENetwork, gaussian_kl
from scident.models._shift_prior import ShiftPriorNetwork
from scident.models._sparse_prior import SparsePriorNetwork
from scident.stages._members import model_class

GENES, LATENTS, PERTURBATIONS, WIDTH = 20, 3, 6, 8
ROWS = list(range(12))
HYPER = {"warmup_epochs": 4.0, "beta": 1.0, "scale": 1.0, "penalty": 10.0, "n_train": 160.0}
ONE = torch.ones(1, dtype=torch.float64)


@pytest.fixture(scope="module")
def place():
    return world(genes=GENES, latents=LATENTS, perturbations=PERTURBATIONS)


def network(kind, module=svae_plus, **params):
    return kind(module.Params(width=WIDTH, **params), GENES, LATENTS, PERTURBATIONS)


def spread_out(stack):
    """Give the mask logits values on both sides of 0."""
    with torch.no_grad():
        stack.p["mask_logits"].copy_(torch.linspace(-2, 2, 18, dtype=torch.float64).view(1, 6, 3))
    return stack


def loss_of(net, stack, batch, epoch=9, noise=None):
    noise = net.noise(streams(1), len(batch), training=True) if noise is None else noise
    return net.loss(stack, batch, noise, torch.tensor(epoch))


def value_of(net, stack, batch, epoch):
    return float(loss_of(net, stack, batch, epoch).detach())


def slopes(loss, stack):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss.sum(), list(stack.p.values()))])


def posterior(cells=12):
    g = torch.Generator().manual_seed(0)
    mean = torch.randn(1, LATENTS, cells, generator=g, dtype=torch.float64)
    return mean, torch.rand(1, LATENTS, cells, generator=g, dtype=torch.float64) + 0.1


def fitted(use, place, **params):
    (found,) = model_class(use).fit_members([member(place, params_of(use, **params))])
    assert found.model is not None, found.reason
    return found


def equal(a, b):
    assert a.history == b.history
    assert a.model.state.keys() == b.model.state.keys()
    assert all(np.array_equal(a.model.state[n], b.model.state[n]) for n in a.model.state)


def test_beta_vae_with_beta_one_is_the_vae(place):
    equal(fitted("beta_vae", place, beta=1), fitted("vae", place))
    assert beta_vae.Params().beta != 1
    with pytest.raises(ValueError, match="beta"):
        vae.Params(beta=2)


def test_beta_weighs_the_kl_after_the_warm_up_and_not_in_validation(place):
    net, batch = network(CountVAENetwork, vae), batch_of(place.train, ROWS)
    none, one, three = (
        [value_of(net, stack_of(net, HYPER | {"beta": beta}), batch, epoch) for epoch in (1, 9)]
        for beta in (0.0, 1.0, 3.0)
    )
    assert none[0] == none[1]
    assert three[0] - none[0] == pytest.approx(3 * (one[0] - none[0]))
    assert one[0] - none[0] == pytest.approx(0.25 * (one[1] - none[1]))
    noise = net.noise(streams(0), len(batch), training=False)
    with torch.no_grad():
        scores = [net.validate(stack_of(net, HYPER | {"beta": b}), batch, noise)["nelbo"] for b in (1.0, 3.0)]
    assert torch.equal(*scores)


def test_without_warm_up_the_kl_has_its_weight_from_the_first_step(place):
    net, batch = network(CountVAENetwork, vae), batch_of(place.train, ROWS)
    first, later = (value_of(net, stack_of(net, HYPER | {"warmup_epochs": 0.0}), batch, e) for e in (0, 1))
    assert first == later == value_of(net, stack_of(net, HYPER), batch, 4)


def test_svae_without_a_penalty_is_the_released_ivae(place):
    plain, ivae = fitted("svae", place, penalty=0), fitted("ivae_released", place)
    spread = ivae.model.state.pop("spread")
    equal(plain, ivae)
    assert spread.shape == (LATENTS,)


def test_svae_adds_the_mean_of_q_without_warm_up():
    net = network(svae.SVAENetwork, svae)
    stack = spread_out(stack_of(net, HYPER))
    q = torch.sigmoid(stack.p["mask_logits"])
    for warm_up in (0 * ONE, ONE):
        torch.testing.assert_close(net.weigh(stack, 2 * ONE, warm_up), 2 + 10 * q.mean((1, 2)))
    (slope,) = torch.autograd.grad(net.weigh(stack, ONE, ONE).sum(), stack.p["mask_logits"])
    torch.testing.assert_close(slope, 10 * q * (1 - q) / 18)


def test_targets_of_svae_are_its_mask(place):
    model = fitted("svae", place).model
    model.state["mask_logits"] = np.linspace(-1, 1, 18).reshape(6, 3)
    model.state["mask_logits"][0, 0] = 0
    targets = model.targets()
    np.testing.assert_allclose(targets.score, 1 / (1 + np.exp(-model.state["mask_logits"])))
    np.testing.assert_array_equal(targets.on, model.state["mask_logits"] > 0)
    assert targets.source == "mask"


def test_ivae_without_a_mask_is_the_released_one_with_logits_at_infinity(place):
    batch = batch_of(place.train, ROWS)
    free, masked = network(ShiftPriorNetwork, ivae_fixed), network(SparsePriorNetwork, ivae_released)
    noise = masked.noise(streams(0), len(batch), training=True)
    stacks = [stack_of(net, HYPER) for net in (free, masked)]
    with torch.no_grad():
        stacks[1].p["mask_logits"].fill_(torch.inf)
    losses = [loss_of(net, stack, batch, noise=noise) for net, stack in zip((free, masked), stacks, strict=True)]
    assert torch.equal(*losses)
    names = list(free.parameters())
    assert set(masked.parameters()) - set(names) == {"mask_logits"}
    found = [torch.autograd.grad(x.sum(), [s.p[n] for n in names]) for x, s in zip(losses, stacks, strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_targets_of_ivae_without_a_mask_are_its_largest_shifts(place):
    model = fitted("ivae_fixed", place).model
    size, targets = np.abs(model.state["shift"]), model.targets()
    assert (targets.on.sum(1) == 2).all()
    np.testing.assert_allclose(targets.score, size / model.embed(place.train).std(0), rtol=1e-5)


def test_expected_kl_is_the_closed_form_of_the_specification():
    """½ Σ (v + m² - 2 q m μ + q μ² - 1 - log v), cell by cell."""
    net = network(SparsePriorNetwork, ivae_released, mask="expected")
    stack = spread_out(stack_of(net, HYPER))
    mean, variance = posterior(4)
    labels = torch.tensor([[0, 3, 3, 5]])
    found = net.divergence(stack, mean, variance, labels, {})
    q, shift = torch.sigmoid(stack.p["mask_logits"][0]), stack.p["shift"][0]
    for n, k in enumerate(labels[0]):
        m, v = mean[0, :, n], variance[0, :, n]
        terms = v + m**2 - 2 * q[k] * m * shift[k] + q[k] * shift[k] ** 2 - 1 - v.log()
        torch.testing.assert_close(found[0, n], 0.5 * terms.sum())


def test_expected_kl_is_the_mean_over_sampled_masks():
    draws = 40_000
    expected, sampled = (network(SparsePriorNetwork, ivae_released, mask=m) for m in ("expected", "sampled"))
    stack = spread_out(stack_of(expected, HYPER))
    mean, variance = posterior(1)
    labels = torch.full((1, draws), 3)
    noise = sampled.noise(streams(0), draws, training=True)
    with torch.no_grad():
        truth = expected.divergence(stack, mean, variance, labels[:, :1], {})
        found = sampled.divergence(stack, mean.expand(-1, -1, draws), variance.expand(-1, -1, draws), labels, noise)
    assert abs(float(found.mean() - truth)) < 4 * float(found.std()) / np.sqrt(draws)
    assert float(found.std()) > 0.01


def test_expected_kl_needs_no_mask_in_training():
    for mask, drawn in (("expected", False), ("sampled", True)):
        noise = network(SparsePriorNetwork, ivae_released, mask=mask).noise(streams(0), 5, training=True)
        assert ("mask" in noise) == drawn


def test_a_mask_drawn_per_batch_is_one_for_all_cells_of_a_perturbation():
    net = network(SparsePriorNetwork, ivae_released, mask_draw="batch")
    stack = stack_of(net, HYPER)
    with torch.no_grad():
        stack.p["mask_logits"].zero_()
    labels = torch.arange(60)[None] % PERTURBATIONS
    on = []
    for seed in range(300):
        noise = net.noise(streams(seed), 60, training=True)
        masks = (net.prior_mean(stack, labels, noise)[0] != 0).view(LATENTS, 10, PERTURBATIONS)
        assert (masks == masks[:, :1]).all()
        on.append(masks[:, 0].double())
    on = torch.stack(on)
    # a fair coin per batch, latent and perturbation: standard error 0.5 / sqrt(5,400)
    assert abs(float(on.mean()) - 0.5) < 4 * 0.5 / np.sqrt(on.numel())
    # and the coins of two perturbations are independent: 300 x 3 pairs
    assert abs(float(torch.corrcoef(on[..., :2].reshape(-1, 2).T)[0, 1])) < 4 / np.sqrt(900)


def test_soft_masks_have_the_slope_of_hard_ones_and_their_own_value():
    labels = torch.tensor([[0, 3, 3, 5]])
    found = {}
    for value in ("hard", "soft"):
        net = network(SparsePriorNetwork, ivae_released, mask_value=value)
        stack = spread_out(stack_of(net, HYPER))
        noise = net.noise(streams(0), 4, training=True)
        prior = net.prior_mean(stack, labels, noise)
        found[value] = prior, torch.autograd.grad(prior.sum(), stack.p["mask_logits"])[0]
    soft = torch.sigmoid(stack.p["mask_logits"][0, labels[0]] + noise["mask"][0]) * stack.p["shift"][0, labels[0]]
    torch.testing.assert_close(found["soft"][0][0], soft.T)
    assert not torch.equal(found["soft"][0], found["hard"][0])
    torch.testing.assert_close(found["soft"][1], found["hard"][1])


def full():
    net = network(svae_plus.SVAEPlusNetwork, mask_kl="full")
    return net, spread_out(stack_of(net, HYPER))


def test_full_mask_kl_starts_at_one_and_is_torchs():
    net, stack = full()
    alpha, omega = stack.p["mask_logits"], stack.p["weight_logits"]
    assert omega.shape == alpha.shape
    assert (omega == 1).all()
    with torch.no_grad():
        omega.copy_(torch.linspace(3, -3, 18, dtype=torch.float64).view(1, 6, 3))
    divergence = kl_divergence(Bernoulli(logits=alpha), Bernoulli(logits=omega)).sum()
    density = Beta(ONE, 10 * ONE).log_prob(torch.sigmoid(omega)).sum()
    for warm_up in (ONE, 0.5 * ONE):
        torch.testing.assert_close(net.penalty(stack, warm_up)[0], float(warm_up) * (divergence - density) / 160)


def test_full_mask_kl_with_w_at_q_is_the_tied_form():
    net, stack = full()
    with torch.no_grad():
        stack.p["weight_logits"].copy_(stack.p["mask_logits"])
    tied = network(svae_plus.SVAEPlusNetwork)
    torch.testing.assert_close(net.penalty(stack, ONE), tied.penalty(stack, ONE))
    assert "weight_logits" not in tied.parameters()


def test_slopes_of_the_full_mask_kl_are_finite_differences():
    net, stack = full()
    names = ("mask_logits", "weight_logits")

    def penalty(*values):
        stack.p = stack.p | dict(zip(names, values, strict=True))
        return net.penalty(stack, ONE)

    assert torch.autograd.gradcheck(penalty, [stack.p[n] for n in names])


def test_sparse_training_with_the_full_mask_kl_learns_w(place):
    model = fitted("svae_plus", place, mask_kl="full", penalty=50, warmup_epochs=1, learning_rate=1e-2).model
    assert (model.state["weight_logits"] < 1).all()


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (vae, CountVAENetwork),
        (ivae_fixed, ShiftPriorNetwork),
        (ivae_released, SparsePriorNetwork),
        (svae, svae.SVAENetwork),
        (svae_plus, svae_plus.SVAEPlusNetwork),
    ],
)
def test_scaling_by_cells_multiplies_the_loss_and_keeps_the_direction(place, module, kind):
    net, batch = network(kind, module), batch_of(place.train, ROWS)
    plain, scaled = (stack_of(net, HYPER | {"scale": scale}) for scale in (1.0, 160.0))
    losses = [loss_of(net, stack, batch) for stack in (plain, scaled)]
    torch.testing.assert_close(losses[1], 160 * losses[0])
    torch.testing.assert_close(slopes(losses[1], scaled), 160 * slopes(losses[0], plain), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("use", ["vae", "beta_vae", "ivae_released", "ivae_fixed", "svae", "svae_plus"])
def test_only_svae_plus_scales_its_loss_unless_asked(place, use):
    params = registry.load("models", use).Params
    assert params().scale_by_cells == (use == "svae_plus")
    scale = [model_class(use).hyper(params(scale_by_cells=on), place.train)["scale"] for on in (False, True)]
    assert scale == [1, place.train.n_obs]


def test_scaling_by_cells_shrinks_adams_eps(place):
    """First step from rest: |Δ| = lr g / (g + eps) of every weight, with N g in the place of g if scaled."""
    share = {}
    for scaled in (False, True):
        setting = {"warmup_epochs": 0, "scale_by_cells": scaled, "batch_size": 1000, "weight_decay": 0, "epsilon": 1}
        after, before = (fitted("vae", place, epochs=e, **setting).model.state["mean.weight"] for e in (1, 0))
        share[scaled] = np.abs(after.astype(float) - before) / 1e-3
    gradient = share[False] / (1 - share[False])
    expected = place.train.n_obs * gradient / (place.train.n_obs * gradient + 1)
    np.testing.assert_allclose(share[True], expected, rtol=1e-2)
    assert np.median(share[False]) < 0.5
    assert np.median(share[True]) > 0.9


def test_gaussian_kl_of_the_standard_prior_is_what_the_vae_pays():
    net = network(CountVAENetwork, vae)
    mean, variance = posterior()
    found = net.divergence(stack_of(net, HYPER), mean, variance, torch.zeros(1, 12, dtype=torch.int64), {})
    torch.testing.assert_close(found, gaussian_kl(mean, variance, 0.0))
