"""The sVAE family against svae.md: start values, objective, masks, warm-up, penalty."""

import copy
import math

import numpy as np
import pytest
import torch

from _tiny import batch_of, member, params_of, stack_of, streams, world
from scident import io
from scident.engine import likelihoods
from scident.engine.likelihoods import negative_log_likelihood
from scident.models import _count_vae, _sparse_prior, ivae_released, svae_plus, vae
from scident.models._count_vae import gaussian_kl

GENES, LATENTS, PERTURBATIONS, WIDTH = 20, 3, 6, 8
ROWS = list(range(12))
HYPER = {"warmup_epochs": 4, "beta": 1.0, "scale": 160.0, "penalty": 10.0, "n_train": 160.0}
PLAIN = HYPER | {"scale": 1.0}


@pytest.fixture(scope="module")
def place():
    return world(genes=GENES, latents=LATENTS, perturbations=PERTURBATIONS)


def number(tensor):
    return float(tensor.detach())


def loss_of(net, stack, batch, random, epoch):
    return net.loss(stack, batch, net.noise(random, len(batch), training=True), torch.tensor(epoch))


def terms_of(net, stack, batch, random):
    return net.local_terms(stack, batch, net.noise(random, len(batch), training=False))


def network(kind=svae_plus.SVAEPlusNetwork, **params):
    return kind(svae_plus.Params(width=WIDTH, **params), GENES, LATENTS, PERTURBATIONS)


def test_masks_start_at_q_of_0_9933():
    logits = stack_of(network(), HYPER).p["mask_logits"]
    assert logits.shape == (1, PERTURBATIONS, LATENTS)
    assert number(torch.sigmoid(logits).mean()) == pytest.approx(0.9933, abs=5e-5)


def test_omega_at_start_is_the_specifications():
    big = svae_plus.SVAEPlusNetwork(svae_plus.Params(width=WIDTH), GENES, 15, 100)
    stack = stack_of(big, HYPER)
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert number(big.weigh(stack, zero, one)) == pytest.approx(64_136.8, abs=0.05)
    assert number(big.weigh(stack, zero, 0.5 * one)) == pytest.approx(32_068.4, abs=0.05)


def test_omega_is_minus_the_log_density_of_a_beta():
    stack = stack_of(network(), HYPER)
    with torch.no_grad():
        stack.p["mask_logits"].copy_(torch.linspace(-3, 4, 18, dtype=torch.float64).view(1, 6, 3))
    q = torch.sigmoid(stack.p["mask_logits"])
    expected = -torch.distributions.Beta(1.0, torch.tensor(10.0, dtype=torch.float64)).log_prob(q).sum()
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    omega = network().weigh(stack, zero, one)
    torch.testing.assert_close(omega[0], expected)
    (slope,) = torch.autograd.grad(omega.sum(), stack.p["mask_logits"])
    torch.testing.assert_close(slope, 9 * q)


def test_omega_of_lambda_one_is_nothing():
    stack = stack_of(network(), HYPER | {"penalty": 1.0})
    local = torch.tensor([3.0], dtype=torch.float64)
    assert number(network().weigh(stack, local, torch.ones(1))) == 160.0 * 3


def test_gaussian_kl_is_torchs():
    g = torch.Generator().manual_seed(0)
    mean, prior = (torch.randn(2, 3, 5, generator=g, dtype=torch.float64) for _ in range(2))
    variance = torch.rand(2, 3, 5, generator=g, dtype=torch.float64) + 0.1
    q = torch.distributions.Normal(mean, variance.sqrt())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(prior, torch.ones_like(prior))).sum(1)
    torch.testing.assert_close(gaussian_kl(mean, variance, prior), expected)


def block(x, p, buffers, name, masks, training):
    """One trunk in torch's own layers."""
    for layer in range(2):
        x = torch.nn.functional.linear(x, p[f"{name}.{layer}.weight"], p[f"{name}.{layer}.bias"][:, 0])
        running = [buffers[f"{name}.{layer}.{part}"].clone() for part in ("mean", "variance")]
        scale, shift = p[f"{name}.{layer}.scale"], p[f"{name}.{layer}.shift"]
        x = torch.relu(torch.nn.functional.batch_norm(x, *running, scale, shift, training, 0.01, 1e-3))
        if masks is not None:
            x = x * masks[layer].T
    return x


def cell_terms(stack, batch, noise, k, dropout):
    """(R, KL) of each cell of member k, cell by cell; `dropout` None is evaluation mode."""
    training = dropout is not None
    p = {name: value[k] for name, value in stack.p.items()}
    buffers = {name: value[k] for name, value in stack.b.items()}
    counts, labels = batch.counts[k].T, batch.labels[k]
    masks = noise.keep(dropout, 2, WIDTH, len(batch))[k] if training else None
    normal, logistic = noise.normal(LATENTS, len(batch))[k], noise.logistic(len(batch), LATENTS)[k]
    hidden = block(torch.log1p(counts), p, buffers, "encoder", masks, training)
    head = torch.nn.functional.linear
    mean = head(hidden, p["mean.weight"], p["mean.bias"][:, 0])
    variance = head(hidden, p["log_variance.weight"], p["log_variance.bias"][:, 0]).exp() + 1e-4
    z = mean + variance.sqrt() * normal.T
    hidden = block(z, p, buffers, "decoder", None, training)
    rho = torch.softmax(head(hidden, p["logits.weight"], p["logits.bias"][:, 0]), 1)
    t = p["log_dispersion"][:, 0].exp()
    terms = []
    for n in range(len(batch)):
        m = counts[n].sum() * rho[n]
        density = torch.distributions.NegativeBinomial(t, logits=(m / t).log()).log_prob(counts[n])
        soft = torch.sigmoid(p["mask_logits"][labels[n]] + logistic[n])
        gamma = (soft > 0.5).double() + soft - soft.detach()
        prior = gamma * p["shift"][labels[n]]
        kl = 0.5 * (variance[n] + (mean[n] - prior) ** 2 - 1 - variance[n].log()).sum()
        terms.append((-density.sum(), kl))
    return terms


def reference(stack, batch, noise, epoch, dropout, k=0):
    """L = N · mean(R + β κ KL) + κ Ω of member k, from the formulas of svae.md §2."""
    h = {name: float(value[k]) for name, value in stack.h.items()}
    kappa = min(1, epoch / h["warmup_epochs"])
    terms = cell_terms(stack, batch, noise, k, dropout)
    local = sum(r + h["beta"] * kappa * kl for r, kl in terms) / len(terms)
    p = {name: value[k] for name, value in stack.p.items()}
    q = torch.sigmoid(p["mask_logits"])
    omega = -torch.distributions.Beta(1.0, torch.tensor(h["penalty"], dtype=torch.float64)).log_prob(q).sum()
    return h["n_train"] * local + kappa * omega


@pytest.mark.parametrize("epoch", [0, 1, 9])
def test_loss_of_svae_plus_is_the_specifications(place, monkeypatch, epoch):
    """Two members with different numbers, each against loops over its cells; value and every gradient."""
    net = network()
    other = {"warmup_epochs": 2, "beta": 0.5, "scale": 50.0, "penalty": 3.0, "n_train": 50.0}
    stack = stack_of(net, [HYPER, other], (1, 2))
    with torch.no_grad():  # masks on and off
        stack.p["mask_logits"].copy_(torch.linspace(-3, 3, 36, dtype=torch.float64).view(2, 6, 3))
    batch = batch_of(place.train, ROWS, 2)
    names = list(stack.p)
    expected = [reference(stack, batch, streams(5, 6), epoch, net.params.dropout, k) for k in (0, 1)]
    gradients = torch.autograd.grad(sum(expected), [stack.p[n] for n in names], allow_unused=True)

    buffers = copy.deepcopy(stack.b)
    trained = loss_of(net, stack, batch, streams(5, 6), epoch)
    found = torch.autograd.grad(trained.sum(), [stack.p[n] for n in names])
    for name, mine, theirs in zip(names, found, gradients, strict=True):
        # the series behind the dispersion's gradient is right to 1e-9, here times N
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")

    stack.b = buffers
    monkeypatch.setattr(likelihoods, "training_loss", negative_log_likelihood)
    torch.testing.assert_close(loss_of(net, stack, batch, streams(5, 6), epoch), torch.stack(expected))


def test_a_cell_whose_log_variance_overflows_does_not_end_the_training(place):
    """While the KL has no weight nothing bounds it: among 200,000 cells without structure one got there in an epoch."""
    net = network()
    stack, batch = stack_of(net, HYPER), batch_of(place.train, ROWS)
    with torch.no_grad():
        stack.p["log_variance.bias"].fill_(1000.0)
        mean, variance = net.encode(stack, batch)
    assert torch.isfinite(mean).all()
    assert (variance == math.exp(_count_vae.LARGEST_LOG_VARIANCE) + _count_vae.SMALLEST_VARIANCE).all()
    loss = loss_of(net, stack, batch, streams(5), 0)
    assert torch.isfinite(loss).all()
    leaves = list(stack.p.values())
    assert all(
        torch.isfinite(g).all() for g in torch.autograd.grad(loss.sum(), leaves, allow_unused=True) if g is not None
    )


def test_local_terms_use_running_statistics_and_no_dropout(place):
    net, stack = network(), stack_of(network(), HYPER, (1, 2))
    batch = batch_of(place.train, ROWS, 2)
    for seed in range(3):  # move the running statistics away from their start
        loss_of(net, stack, batch, streams(seed, seed + 1), 0)
    before = copy.deepcopy(stack.b)
    with torch.no_grad():
        found = torch.stack(terms_of(net, stack, batch, streams(5, 6)), -1)
        expected = [cell_terms(stack, batch, streams(5, 6), k, None) for k in (0, 1)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert all(torch.equal(stack.b[name], before[name]) for name in before)


def test_without_a_penalty_the_mask_feels_nothing_but_the_kl(place):
    net = network(_sparse_prior.SparsePriorNetwork, dropout=0)
    stack = stack_of(net, PLAIN)
    local, weight = torch.tensor([2.5]), torch.tensor([1.0])
    assert number(net.weigh(stack, local, weight)) == 2.5
    (slope,) = torch.autograd.grad(
        loss_of(net, stack, batch_of(place.train, ROWS), streams(0), 0).sum(),
        stack.p["mask_logits"],
        allow_unused=True,
    )
    assert float(slope.abs().max()) == 0  # the KL has weight 0 in the first epoch


def test_warm_up_rises_by_one_over_its_epochs(place):
    net = network(_count_vae.CountVAENetwork)
    batch = batch_of(place.train, ROWS)

    def loss(epoch):
        return number(loss_of(net, stack_of(net, PLAIN), batch, streams(0), epoch))

    kl = loss(4) - loss(0)
    assert kl > 0
    for epoch, weight in ((1, 0.25), (2, 0.5), (3, 0.75), (5, 1.0), (100, 1.0)):
        assert loss(epoch) - loss(0) == pytest.approx(weight * kl, rel=1e-9)


def test_masks_are_straight_through(place):
    """Forward the hard mask, backward the slope of the soft one."""
    net, stack = network(), stack_of(network(), HYPER)
    with torch.no_grad():
        stack.p["mask_logits"].copy_(torch.linspace(-2, 2, 18, dtype=torch.float64).view(1, 6, 3))
    labels = torch.tensor([[0, 3, 3, 5]])
    prior = net.prior_mean(stack, labels, {"mask": streams(1).logistic(4, LATENTS)})
    shift, alpha = stack.p["shift"][0, labels[0]].T, stack.p["mask_logits"][0, labels[0]].T
    soft = torch.sigmoid(alpha + streams(1).logistic(4, LATENTS)[0].T)
    torch.testing.assert_close(prior[0], (soft > 0.5) * shift, rtol=0, atol=0)
    assert 0 < float((soft > 0.5).double().mean()) < 1
    (slope,) = torch.autograd.grad(prior.sum(), stack.p["mask_logits"])
    expected = torch.zeros(PERTURBATIONS, LATENTS, dtype=torch.float64)
    expected.index_add_(0, labels[0], (soft * (1 - soft) * shift).T.detach())
    torch.testing.assert_close(slope[0], expected)


def test_masks_are_drawn_anew_for_each_cell():
    net, stack = network(), stack_of(network(), HYPER)
    with torch.no_grad():
        stack.p["mask_logits"].zero_()
    n = 4000
    on = net.prior_mean(stack, torch.full((1, n), 2), {"mask": streams(0).logistic(n, LATENTS)})[0] != 0
    # a fair coin per cell and latent: standard error 0.5 / sqrt(12,000)
    assert abs(float(on.double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(n * LATENTS)


@pytest.mark.parametrize(
    ("cells", "params", "expected"),
    [
        (90, {}, 39.96),
        (1, {}, 1.0),
        (90, {"penalty": 100}, 100.0),
        (90, {"penalty": 0}, 1.0),
        (90, {"penalty_per_cell": 1.0}, 90.0),
    ],
)
def test_penalty_follows_the_training_cells_of_a_perturbation(cells, params, expected):
    place = world(cells=cells, perturbations=PERTURBATIONS, heldout=2)
    held = place.cells.obs["perturbation"].cat.codes < 4
    train = io.subset(place.cells, held.to_numpy())
    assert len(train.obs["perturbation"].cat.categories) == PERTURBATIONS
    hyper = svae_plus.SVAEPlus.hyper(svae_plus.Params(**params), train)
    assert hyper["penalty"] == pytest.approx(expected)
    assert hyper["n_train"] == 4 * cells


def test_encoder_does_not_see_the_label(place):
    (found,) = svae_plus.SVAEPlus.fit_members([member(place, params_of("svae_plus"))])
    other = place.cells.copy()
    other.obs["perturbation"] = other.obs["perturbation"].to_numpy()[::-1]
    other.obs["perturbation"] = other.obs["perturbation"].astype(place.cells.obs["perturbation"].dtype)
    np.testing.assert_array_equal(found.model.embed(other), found.model.embed(place.cells))


def test_heldout_rows_of_the_mask_feel_the_sparsity_alone(place):
    """svae.md §2.3: rows without training cells drift down together, whatever the data."""
    params = params_of("svae_plus", epochs=5, penalty=50, warmup_epochs=1)
    (found,) = svae_plus.SVAEPlus.fit_members([member(place, params)])
    heldout = found.model.state["mask_logits"][-1]
    assert (heldout < 5).all()
    # the three entries have the same gradient at every step
    np.testing.assert_allclose(heldout, heldout[0], rtol=1e-6)


def test_targets_of_ivae_are_its_two_largest_shifts(place):
    (found,) = ivae_released.IVAE.fit_members([member(place, params_of("ivae_released"))])
    model = found.model
    size, q = np.abs(model.state["shift"]), model.mask_probability()
    targets = model.targets()
    assert (targets.on.sum(1) == 2).all()
    assert (size[targets.on].reshape(-1, 2).min(1) >= size[~targets.on]).all()
    np.testing.assert_allclose(targets.score, size * q / model.embed(place.train).std(0), rtol=1e-5)


def test_validation_is_the_whole_bound_without_warm_up(place):
    net, stack = network(), stack_of(network(), HYPER)
    batch = batch_of(place.train, ROWS)
    with torch.no_grad():
        noise = net.noise(streams(0), len(batch), training=False)
        sums = net.validate(stack, batch, noise)
        r, kl = net.local_terms(stack, batch, noise)
    torch.testing.assert_close(sums["nelbo"], sums["reconstruction"] + sums["kl"])
    torch.testing.assert_close(sums["kl"], kl.sum(1))
    torch.testing.assert_close(sums["reconstruction"], r.sum(1))


def test_likelihood_is_the_mean_of_r_plus_kl(place):
    """Against the bound written out for one member, over many draws of z and mask."""
    (found,) = svae_plus.SVAEPlus.fit_members([member(place, params_of("svae_plus"))])
    model, few = found.model, io.subset(place.train, np.arange(6))
    draws = np.stack([model.likelihood(few, np.random.default_rng(s)).nelbo for s in range(200)])
    net, stack, data = model._network(few)
    batch = data.gather(torch.arange(6)[None])
    noise = streams(9, dtype=torch.float32)
    with torch.no_grad():
        direct = np.stack([sum(terms_of(net, stack, batch, noise))[0].numpy() for _ in range(2000)])
    se = np.sqrt(draws.var(0) / len(draws) + direct.var(0) / len(direct))
    assert (np.abs(draws.mean(0) - direct.mean(0)) < 4 * se).all()
    # each value averages ten draws
    np.testing.assert_allclose(draws.std(0) / direct.std(0), 1 / math.sqrt(10), rtol=0.4)


def test_vae_ignores_the_label_altogether(place):
    (found,) = vae.VAE.fit_members([member(place, params_of("vae"))])
    other = place.cells.copy()
    other.obs["perturbation"] = other.obs["perturbation"].cat.rename_categories(list("fedcba"))
    one, two = (found.model.likelihood(c, np.random.default_rng(0)).nelbo for c in (place.cells, other))
    np.testing.assert_array_equal(one, two)
    assert "shift" not in found.model.state
