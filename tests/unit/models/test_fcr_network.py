"""FCR's networks and objective against fcr.md §4-5 and §11, on a world of three contexts and two treatments."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from _factorised import DOUBLE, ROWS, SIZES, batch, network, noise_of, opened, place
from _tiny import streams
from scident import registry
from scident.engine.progress import Schedule
from scident.engine.steps import Steps
from scident.models import _fcr_terms as terms

VARIANTS = [name for name in registry.known("models") if name.startswith("fcr") and name != "fcr_flow"]
D_X, D_TX, D_T = SIZES


@pytest.fixture(scope="module")
def world():
    return place()


@pytest.fixture(scope="module")
def counted():
    return place(observation="counts")


def test_sizes_of_blocks_follow_the_parameters(world):
    assert network(world).design.sizes == SIZES
    with pytest.raises(Exception, match="together 6"):
        registry.load("models", "fcr").FCR.block_names(registry.load("models", "fcr").Params(sizes=(2, 2, 2)), 4)


@pytest.mark.parametrize("use", VARIANTS)
def test_every_parameter_of_every_variant_is_learned(world, use):
    net = network(world, use)
    stack, seen = opened(world, net, seed=1), batch(world, net)  # at seed 0 the authors' ReLU kills a whole prior
    own = [name for name in stack.p if not name.startswith("adversary.")]
    rivals = [name for name in stack.p if name.startswith("adversary.")]
    loss = net.loss(stack, seen, noise_of(net), torch.tensor(5))
    for name, slope in zip(own, torch.autograd.grad(loss.sum(), [stack.p[n] for n in own]), strict=True):
        assert torch.isfinite(slope).all(), name
        assert float(slope.abs().max()) > 0, name
    if rivals:
        loss = net.adversary(stack, seen, noise_of(net), torch.tensor(8))
        for name, slope in zip(rivals, torch.autograd.grad(loss.sum(), [stack.p[n] for n in rivals]), strict=True):
            assert float(slope.abs().max()) > 0, name


def normal_cost(net, stack, path, z):
    """-log p(y|z) by torch's own Normal, at a skip or relu network's outputs."""
    out = net.decode(stack, z, training=True)
    y = path.counts + stack.b["center"]
    if net.params.scale == "cell":
        out, raw = out.chunk(2, 1)
        sd = torch.nn.functional.softplus(raw + math.log(math.e - 1)) + 1e-3
    else:
        sd = torch.nn.functional.softplus(stack.p["raw_scale"]) + 1e-3
    mean = stack.b["center"] + stack.b["spread"] * out
    return -torch.distributions.Normal(mean, (stack.b["spread"] * sd).clamp(min=0.05)).log_prob(y).sum(1)


@pytest.mark.parametrize("scale", ["gene", "cell"])
def test_loss_is_the_negative_elbo_without_other_terms(world, scale):
    net = network(world, permutation=0, curriculum=False, scale=scale, family="diagonal")
    stack, seen, noise = opened(world, net, 2), batch(world, net, 2), noise_of(net, (0, 1))
    path = net.own(stack, seen)
    q = net.encode(stack, path)
    cost = normal_cost(net, stack, path, q.mean + q.log_sd.exp() * noise["z"])
    prior = net.prior(stack, seen.contexts, seen.labels)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.mean, q.log_sd.exp()), torch.distributions.Normal(prior.mean, prior.log_sd.exp())
    ).sum(1)
    constant = 0.5 * math.log(2 * math.pi) * net.design.n_genes
    torch.testing.assert_close(net.loss(stack, seen, noise, torch.tensor(3)), (cost + kl).mean(1) - constant)
    sums = net.validate(stack, seen, noise)
    torch.testing.assert_close(sums["nelbo"], (cost + kl).sum(1))
    torch.testing.assert_close(sums["kl"], kl.sum(1))


@pytest.mark.parametrize("family", ["full", "flow"])
def test_the_image_of_a_posterior_has_the_density_of_a_change_of_variables(world, family):
    """log q(z) is that of u less the log-determinant of the map's slope, found here by automatic differentiation."""
    net = network(world, permutation=0, curriculum=False, family=family)
    stack, seen, noise = opened(world, net), batch(world, net), noise_of(net)
    path = net.own(stack, seen)
    q, p = net.encode(stack, path), net.prior(stack, seen.contexts, seen.labels)
    u = q.mean + q.log_sd.exp() * noise["z"]
    z = net.map(stack, u)
    slopes = torch.stack(
        [torch.autograd.functional.jacobian(lambda v: net.map(stack, v[None, :, None])[0, :, 0], c) for c in u[0].T]
    )
    log_q = torch.distributions.Normal(q.mean, q.log_sd.exp()).log_prob(u).sum(1) - torch.linalg.slogdet(slopes)[1]
    log_p = torch.distributions.Normal(p.mean, p.log_sd.exp()).log_prob(z).sum(1)
    cost = normal_cost(net, stack, path, u)
    torch.testing.assert_close(net.weigher(stack, path)(noise["z"]), log_p - log_q - cost)
    entropy = torch.distributions.Normal(q.mean, q.log_sd.exp()).entropy().sum(1)
    kl = -entropy - torch.linalg.slogdet(slopes)[1] - log_p
    torch.testing.assert_close(net.validate(stack, seen, noise)["nelbo"], (cost + kl).sum(1))
    constant = 0.5 * math.log(2 * math.pi) * net.design.n_genes
    torch.testing.assert_close(net.loss(stack, seen, noise, torch.tensor(3)), (cost + kl).mean(1) - constant)


def test_a_full_posterior_has_the_closed_divergence_on_average(world):
    net = network(world, permutation=0, family="full")
    stack, seen = opened(world, net), batch(world, net)
    path = net.own(stack, seen)
    q, p = net.encode(stack, path), net.prior(stack, seen.contexts, seen.labels)
    linear, offset = stack.p["flow.linear"][0, 0], stack.p["flow.offset"][0, 0, :, 0]
    closed = [
        torch.distributions.kl_divergence(
            torch.distributions.MultivariateNormal(
                linear @ q.mean[0, :, k] + offset, linear * (2 * q.log_sd[0, :, k]).exp() @ linear.T
            ),
            torch.distributions.MultivariateNormal(p.mean[0, :, k], (2 * p.log_sd[0, :, k]).exp().diag()),
        )
        for k in range(len(ROWS))
    ]
    generator = torch.Generator().manual_seed(0)
    found = torch.stack(
        [
            net.map.draw(stack, q, torch.randn(q.mean.shape, generator=generator, dtype=DOUBLE)).divergence(p)
            for _ in range(400)
        ]
    ).sum(2)
    error = (found.mean() - sum(closed)).detach().abs()
    assert float(error) < 4 * float(found.detach().std()) / 400**0.5


def test_maps_need_one_network_that_reads_no_labels(world):
    for params in ({"posterior": "labels"}, {"posterior": "joint"}, {"network": "relu"}):
        with pytest.raises(ValueError, match="family: diagonal"):
            network(world, **params)


def test_counts_are_negative_binomial_around_their_library(counted):
    net = network(counted, likelihood="negative_binomial", permutation=0)
    stack, seen = opened(counted, net), batch(counted, net)
    path = net.own(stack, seen)
    z = net.encode(stack, path).mean
    out = net.decode(stack, z)
    rate = seen.counts.sum(1, keepdim=True) * torch.softmax(net.observation.logits(stack, out), 1)
    theta = stack.p["log_dispersion"].exp().expand_as(rate)
    expected = -torch.distributions.NegativeBinomial(theta, logits=(rate / theta).log()).log_prob(seen.counts).sum(1)
    torch.testing.assert_close(net.observation.cost(stack, seen.counts, out), expected)
    y = np.log1p(counted.train.X[ROWS] * (1e4 / np.maximum(counted.train.X[ROWS].sum(1, keepdims=True), 1)))
    torch.testing.assert_close(path.centred[0].T + stack.b["center"][0, :, 0], torch.as_tensor(y, dtype=DOUBLE))


def test_a_gene_never_seen_in_training_costs_no_fortune(counted):
    blank = replace(counted, train=counted.train.copy())
    blank.train.X[:, 0] = 0
    net = network(blank, permutation=0)
    stack, seen = opened(blank, net), batch(blank, net)
    with torch.no_grad():
        stack.p["raw_scale"].fill_(-20)
    nothing, other = torch.zeros_like(seen.counts), seen.counts.clone()
    other[:, 0] += 1
    more = net.observation.cost(stack, other, nothing) - net.observation.cost(stack, seen.counts, nothing)
    torch.testing.assert_close(more, torch.full_like(more, 0.5 / 0.05**2))


def test_normal_expression_is_log_normalised_counts(counted):
    net = network(counted, permutation=0)
    stack, seen = opened(counted, net), batch(counted, net)
    y = np.log1p(counted.train.X[ROWS] * (1e4 / np.maximum(counted.train.X[ROWS].sum(1, keepdims=True), 1)))
    found = net.own(stack, seen).centred[0].T + stack.b["center"][0, :, 0]
    torch.testing.assert_close(found, torch.as_tensor(y, dtype=DOUBLE))


def test_control_terms_add_reconstruction_and_kl_of_partners(world):
    """The loss with them minus the loss without is what the partners alone would have, labelled as controls."""
    on, off = (
        network(world, permutation=0, curriculum=False, control_terms=value, family="diagonal")
        for value in (True, False)
    )
    stack, seen, noise = opened(world, on), batch(world, on), noise_of(on)
    added = on.loss(stack, seen, noise, torch.tensor(0)) - off.loss(stack, seen, noise, torch.tensor(0))
    controls = replace(seen, counts=seen.partner, labels=torch.full_like(seen.labels, on.design.control))
    path = off.own(stack, controls)
    q = off.encode(stack, path)
    cost = normal_cost(off, stack, path, q.sample(noise["z"][..., len(ROWS) :]))
    kl = terms.kl(q, off.prior(stack, controls.contexts, controls.labels)).sum(1)
    constant = 0.5 * math.log(2 * math.pi) * on.design.n_genes
    assert not seen.has_partner.all()
    expected = ((cost + kl - constant) * seen.has_partner).mean(1)
    torch.testing.assert_close(added, expected)


def test_similarity_compares_with_the_partners_posterior(world):
    on, off = (network(world, permutation=0, curriculum=False, similarity=value) for value in (2.0, 0.0))
    stack, seen, noise = opened(world, on), batch(world, on), noise_of(on)
    added = on.loss(stack, seen, noise, torch.tensor(0)) - off.loss(stack, seen, noise, torch.tensor(0))
    own, partner = (off.latents(stack, off.own(stack, replace(seen, counts=c))) for c in (seen.counts, seen.partner))
    pairs = [(m[:, :D_X], m[:, D_X + D_TX :]) for m in (own, partner)]
    treated = seen.labels != on.design.control
    torch.testing.assert_close(added, 2 * terms.similarity(*pairs, seen.has_partner, treated))


def test_the_control_is_the_zero_treatment_and_nothing_else_is(world):
    net = network(world, "fcr_published")
    codes = torch.arange(net.design.n_perturbations)[None]
    indicator = net.posterior._perturbation(codes, torch.zeros((), dtype=DOUBLE))
    assert (indicator[0].sum(0) == 0).nonzero().flatten().tolist() == [net.design.control]
    control = world.train.obs["perturbation"].cat.codes.to_numpy() == net.design.control
    np.testing.assert_array_equal(control, world.train.obs["is_control"])


def test_three_posteriors_read_the_labels_they_should(world):
    net = network(world, "fcr_published")
    stack, seen = opened(world, net), batch(world, net)
    path = net.own(stack, seen)
    base = net.encode(stack, path).mean

    def moved(**labels):
        change = (net.encode(stack, replace(path, **labels)).mean - base).abs().amax((0, 2)) > 0
        return [bool(change[part].any()) for part in (slice(D_X), slice(D_X, D_X + D_TX), slice(D_X + D_TX, None))]

    assert moved(contexts=(path.contexts + 1) % 3) == [True, True, False]
    assert moved(labels=(path.labels + 1) % 3) == [False, True, True]
    assert moved(centred=path.centred.flip(2)) == [True, True, True]


def test_the_posterior_of_fcr_does_not_read_labels(world):
    net = network(world)
    stack, seen = opened(world, net), batch(world, net)
    path = net.own(stack, seen)
    turned = replace(path, contexts=path.contexts.flip(1), labels=path.labels.flip(1))
    assert torch.equal(net.encode(stack, path).mean, net.encode(stack, turned).mean)


def steps(stack, **schedule):
    return Steps(stack, Schedule(epsilon=1e-8, weight_decay=0, **schedule), [1e-2], [{}])


def test_model_and_discriminators_never_move_each_other(world):
    net = network(world)
    seen, at = batch(world, net), torch.tensor(3)
    for adversary_steps, frozen in ((0, "adversary."), (1, "")):
        stack = opened(world, net)
        before = {name: value.detach().clone() for name, value in stack.p.items()}

        def loss(stack=stack, still=not frozen):
            found = net.loss(stack, seen, noise_of(net), at)
            return found * 0 if still else found

        steps(stack, adversary_steps=adversary_steps).step(
            loss, lambda stack=stack: net.adversary(stack, seen, noise_of(net), at)
        )
        moved = {name for name, value in stack.p.items() if not torch.equal(value, before[name])}
        rivals = {name for name in stack.p if name.startswith("adversary.")}
        assert moved == (set(stack.p) - rivals if frozen else rivals)


def slope_of_permutation(world, **params):
    """Return the gradient of the permutation term alone at the encoder's first weights."""
    on, off = (network(world, curriculum=False, permutation=value, **params) for value in (1.0, 1e-12))
    stack, seen = opened(world, on), batch(world, on)
    leaf = stack.p["posterior_skip.weight"]
    slopes = [
        torch.autograd.grad(net.loss(stack, seen, noise_of(net), torch.tensor(9)).sum(), leaf)[0] for net in (on, off)
    ]
    return float((slopes[0] - slopes[1]).abs().max())


def test_the_permutation_term_teaches_the_encoder(world):
    assert slope_of_permutation(world) > 1e-4
    assert slope_of_permutation(world, encoder_gradient=False) < 1e-9


def test_the_weight_of_the_permutation_term_rises_from_zero(world):
    on, off = (network(world, curriculum=False, permutation=value) for value in (2.0, 0.0))
    stack, seen = opened(world, on), batch(world, on)
    stack.h["ramp_epochs"] = torch.full((1,), 4.0, dtype=DOUBLE)

    def term(epoch):
        at = torch.tensor(epoch)
        return float((on.loss(stack, seen, noise_of(on), at) - off.loss(stack, seen, noise_of(off), at)).detach())

    assert term(0) == 0
    assert term(4) < 0
    assert [term(e) / term(4) for e in (1, 2, 3, 9)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_nonlinear_branches_wait_for_the_curriculum(world):
    net = network(world, permutation=0)
    stack, seen = opened(world, net), batch(world, net)
    leaf = stack.p["decoder_out"]
    for epoch, waits in ((0, True), (1, True), (2, False), (7, False)):
        (slope,) = torch.autograd.grad(net.loss(stack, seen, noise_of(net), torch.tensor(epoch)).sum(), leaf)
        assert (float(slope.abs().max()) == 0) == waits


@pytest.mark.parametrize(
    ("use", "params"),
    [("fcr", {}), ("fcr", {"family": "full"}), ("fcr", {"family": "diagonal"}), ("fcr_authors", {"curriculum": True})],
)
def test_swapping_latents_with_everything_that_reads_them_changes_nothing(world, use, params):
    """What the curriculum does at its turns, priors apart."""
    net = network(world, use, **params)
    stack, seen = opened(world, net, 2), batch(world, net, 2)
    order = torch.tensor([[2, 0, 3, 1], [1, 2, 3, 0]])
    path = net.own(stack, seen)
    before, z = net.encode(stack, path), net.latents(stack, path)
    decoded = net.decode(stack, before.mean)
    with torch.no_grad():
        net._permute(stack, order)
    after = net.encode(stack, path)
    torch.testing.assert_close(net.latents(stack, path), torch.stack([z[k, order[k]] for k in (0, 1)]))
    torch.testing.assert_close(net.decode(stack, after.mean), decoded)
    if net.map.flow is None:
        torch.testing.assert_close(after.log_sd, torch.stack([before.log_sd[k, order[k]] for k in (0, 1)]))
    else:
        torch.testing.assert_close(net.map.inverse(stack, net.latents(stack, path)), before.mean)


@pytest.mark.parametrize("family", ["diagonal", "flow"])
def test_linear_parts_start_at_principal_components(world, family):
    net = network(world, family=family)
    stack = opened(world, net)
    with torch.no_grad():
        stack.p["posterior_out"].zero_()
        stack.p["decoder_out"].zero_()
        net.turn(stack, streams(0), 0, lambda: iter(()))
        everyone = batch(world, net, rows=list(range(world.train.n_obs)))
        path = net.own(stack, everyone)
        found = net.observation.expected(stack, net.decode(stack, net.encode(stack, path).mean))[0].T.numpy()
    y = np.asarray(world.train.X, dtype=float)
    _, _, axes = np.linalg.svd(y - y.mean(0), full_matrices=False)
    expected = (y - y.mean(0)) @ axes[: sum(SIZES)].T @ axes[: sum(SIZES)] + y.mean(0)
    np.testing.assert_allclose(found, expected, atol=1e-8)
