"""Do the members engine and its count model estimate what they say? Fixed seeds; tolerances from standard errors."""

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from _tiny import CPU, N_LATENTS, member, params_of, progress, stack_of, streams, world
from scident.engine.batches import Cells
from scident.engine.likelihoods import training_loss
from scident.engine.trainer import Schedule, train
from scident.models import svae_plus, vae
from scident.models._design import design_of


@pytest.mark.parametrize("truth", [0.5, 5.0, 50.0])
def test_minimising_the_training_loss_finds_the_dispersion(truth):
    """Means known, dispersion free: the value is not the density's, its minimum in r is."""
    cells, mean = 20_000, 20.0
    counts = np.random.default_rng(0).negative_binomial(truth, truth / (truth + mean), cells)
    x = torch.as_tensor(counts, dtype=torch.float64).view(1, 1, -1)
    library = torch.full_like(x, np.log(mean))

    def slope(r):
        free = torch.full((1, 1, 1), r, dtype=torch.float64, requires_grad=True)
        loss = training_loss(x, torch.zeros_like(x), library, free).mean()
        return float(torch.autograd.grad(loss, free)[0])

    found = optimize.brentq(slope, -3, 8)
    # Fisher information of r per cell, by the curvature at the truth
    information = (slope(np.log(truth) + 1e-3) - slope(np.log(truth) - 1e-3)) / 2e-3
    assert abs(found - np.log(truth)) < 4 / np.sqrt(cells * information)


def test_first_shifts_and_dispersions_are_standard_normal():
    network = svae_plus.SVAEPlusNetwork(svae_plus.Params(width=4), 500, 15, 200)
    stack = stack_of(network, {}, seeds=(1, 2))
    for name in ("shift", "log_dispersion"):
        drawn = stack.p[name].detach().flatten().numpy()
        assert stats.kstest(drawn, "norm").pvalue > 1e-3
        assert not np.array_equal(*stack.p[name].detach().numpy())


def test_streams_of_members_and_epochs_are_independent():
    n = 50_000
    noise = streams(1, 2, 3).normal(n).numpy()
    later = streams(1, 2, 3)
    later.start(1, 1)
    rows = np.concatenate([noise, later.normal(n).numpy()])
    off = np.corrcoef(rows)[np.triu_indices(6, 1)]
    # a correlation of independent numbers has standard error 1 / sqrt(n); fifteen of them
    assert np.abs(off).max() < 4.5 / np.sqrt(n)


def no_skill(train_counts, counts):
    """Nats per cell of one library-scaled profile and one dispersion per gene, by maximum likelihood."""
    profile, library = train_counts.sum(0) / train_counts.sum(), train_counts.sum(1, keepdims=True)
    total = np.zeros(len(counts))
    for gene, share in enumerate(profile):

        def minus(r, x, m):
            t = np.exp(r)
            return -stats.nbinom.logpmf(x, t, t / (t + m))

        own = (train_counts[:, gene], library[:, 0] * share)
        r = optimize.minimize_scalar(lambda r, own=own: minus(r, *own).sum(), bounds=(-5, 12), method="bounded").x
        total += minus(r, counts[:, gene], counts.sum(1) * share)
    return total


def test_a_trained_vae_explains_unseen_cells_better_than_one_profile():
    place = world(cells=100, perturbations=12, genes=40, depth=4000)
    params = params_of("vae", epochs=60, learning_rate=1e-2, width=32, batch_size=32, warmup_epochs=10)
    (found,) = vae.VAE.fit_members([member(place, params)])
    bound = found.model.likelihood(place.val, np.random.default_rng(0)).nelbo
    gain = no_skill(np.asarray(place.train.X, float), np.asarray(place.val.X, float)) - bound
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))


def test_the_mask_thins_out_as_the_penalty_grows():
    place = world(cells=60)
    setting = {"epochs": 40, "learning_rate": 2e-2, "warmup_epochs": 1, "batch_size": 16}
    grid = [params_of("svae_plus", penalty=p, **setting) for p in (1, 50, 5000)]
    found = svae_plus.SVAEPlus.fit_members([member(place, p, 1, name=f"r0.g{i}.s0") for i, p in enumerate(grid)])
    density = [f.model.mask_probability().mean() for f in found]
    assert density[0] > density[1] > density[2]
    assert density[2] < 0.1


def test_members_of_one_stack_learn_their_own_worlds():
    """Two members, two worlds: each explains its own validation cells better than the other's model does."""
    places = [world(seed, depth=4000) for seed in (0, 1)]
    blocks = [b for p in places for b in (p.train, p.val)]
    data = Cells([b.X for b in blocks], [np.zeros(b.n_obs, int) for b in blocks], CPU, torch.float32)
    network = vae.VAE.network(params_of("vae", width=16), design_of(places[0].train, N_LATENTS))

    members = [
        progress(
            network,
            {"warmup_epochs": 1.0, "beta": 1.0, "scale": 1.0},
            seed,
            torch.float32,
            rows=(int(data.offsets[2 * i]), int(data.offsets[2 * i + 1])),
            epochs=30,
            learning_rate=1e-2,
        )
        for i, seed in enumerate((5, 5))
    ]
    train(network, members, data, places[0].train.n_obs, places[0].val.n_obs, Schedule(32))
    models = []
    for m in members:
        model = vae.VAE(params_of("vae", width=16), N_LATENTS)
        model.state = m.state.arrays()
        models.append(model)
    cost = np.array([[m.likelihood(p.val, np.random.default_rng(0)).nelbo.mean() for p in places] for m in models])
    assert cost[0, 0] < cost[1, 0]
    assert cost[1, 1] < cost[0, 1]
