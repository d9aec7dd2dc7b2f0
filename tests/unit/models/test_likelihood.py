"""Both bounds of a count VAE against the formulas written out in double precision."""

import math

import numpy as np
import pytest
import torch

from _tiny import member, params_of, world
from scident import io
from scident.engine.streams import Streams
from scident.models import svae_plus, vae
from scident.models._count_vae import IWELBO

SAMPLES, CELLS = 30, 8
MODELS = {
    "masked": (svae_plus.SVAEPlus, params_of("svae_plus", epochs=3)),
    "one mask a batch": (svae_plus.SVAEPlus, params_of("svae_plus", epochs=3, mask_draw="batch")),
    "no label": (vae.VAE, params_of("vae", epochs=3)),
}


@pytest.fixture(scope="module")
def place():
    return world()


def fitted(place, name):
    kind, params = MODELS[name]
    (found,) = kind.fit_members([member(place, params)])
    if "mask_logits" in found.model.state:  # masks on and off
        logits = np.linspace(-3, 3, found.model.state["mask_logits"].size, dtype=np.float32)
        found.model.state["mask_logits"] = logits.reshape(found.model.state["mask_logits"].shape)
        found.model.state["log_dispersion"] += 6
    return found.model


def weights(model, cells, seed):
    """Return log p(x|z) + log p(z) - log q(z) of each sample and cell, with the draws that `likelihood` makes."""
    network, stack, data = model._network(cells)
    stack.p = {n: v.detach().double() for n, v in stack.p.items()}
    stack.b = {n: v.double() for n, v in stack.b.items()}
    batch = data.gather(torch.arange(cells.n_obs)[None])
    x, library = batch.counts.double(), batch.counts.double().sum(1, keepdim=True)
    streams = Streams([np.random.SeedSequence(int(np.random.default_rng(seed).integers(2**63)))], *two(data))
    streams.start(IWELBO, 0)
    normal = torch.distributions.Normal
    mean, variance = network.encode(stack, type(batch)(x, library.log(), batch.labels, batch.contexts))
    found = []
    for _ in range(SAMPLES):
        noise = {n: v.double() for n, v in network.noise(streams, cells.n_obs, training=False).items()}
        z = mean + variance.sqrt() * noise["z"]
        m = library * torch.softmax(network.decode(stack, z, training=False), 1)
        t = stack.p["log_dispersion"].exp()
        density = torch.distributions.NegativeBinomial(t, logits=(m / t).log()).log_prob(x).sum(1)
        prior = normal(network.prior_mean(stack, batch.labels, noise), 1.0, validate_args=False).log_prob(z).sum(1)
        found.append((density + prior - normal(mean, variance.sqrt()).log_prob(z).sum(1))[0])
    return torch.stack(found)


def two(data):
    return data.device, data.dtype


@pytest.mark.parametrize("name", MODELS)
def test_importance_weighted_bound_is_the_formula(place, name):
    model, few = fitted(place, name), io.subset(place.cells, np.arange(0, 240, 240 // CELLS))
    with torch.no_grad():
        log_weights = weights(model, few, seed=5)
    expected = torch.logsumexp(log_weights, 0) - math.log(SAMPLES)
    assert float((expected - log_weights[0]).abs().min()) > 1e-3
    found = model.likelihood(few, np.random.default_rng(5), samples=SAMPLES)
    # single precision: a cell's bound is a difference of sums ten times its size
    np.testing.assert_allclose(found.iwelbo, expected, rtol=1e-5)


def test_negative_elbo_does_not_depend_on_whether_samples_are_asked_for(place):
    model, few = fitted(place, "masked"), io.subset(place.cells, np.arange(9))
    plain, both = (model.likelihood(few, np.random.default_rng(1), samples=s) for s in (0, 3))
    assert plain.iwelbo is None
    np.testing.assert_array_equal(plain.nelbo, both.nelbo)
    assert both.nelbo.dtype == both.iwelbo.dtype == np.float64


def test_bound_rises_with_samples_from_minus_the_negative_elbo(place):
    model = fitted(place, "masked")
    bounds = {s: model.likelihood(place.train, np.random.default_rng(s), samples=s) for s in (1, 10, 100)}
    single = np.mean([model.likelihood(place.train, np.random.default_rng(s), 1).iwelbo for s in range(40)], 0)
    elbo = -np.mean([model.likelihood(place.train, np.random.default_rng(s)).nelbo for s in range(4)], 0)
    # 40 draws of each of 160 cells on either side
    error = np.std(single - elbo) / math.sqrt(len(elbo))
    assert abs(np.mean(single - elbo)) < 4 * error
    assert elbo.mean() < bounds[10].iwelbo.mean() < bounds[100].iwelbo.mean()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_bounds_equal_eager_ones(place, monkeypatch):
    import jaxtyping

    from scident.engine import compiling
    from scident.models import _count_vae

    if not compiling.works():
        pytest.skip("no C++ compiler works here")
    model = fitted(place, "masked")
    monkeypatch.setattr(_count_vae, "BLOCK", 100)
    eager = model.likelihood(place.cells, np.random.default_rng(0), samples=5)
    jaxtyping.config.update("jaxtyping_disable", True)
    model.params = model.params.model_copy(update={"compile": "auto"})
    compiled = model.likelihood(place.cells, np.random.default_rng(0), samples=5)
    jaxtyping.config.update("jaxtyping_disable", False)
    # single precision: a cell's bound is a difference of sums ten times its size
    np.testing.assert_allclose(compiled.iwelbo, eager.iwelbo, rtol=1e-5)
    np.testing.assert_array_equal(compiled.nelbo, eager.nelbo)
