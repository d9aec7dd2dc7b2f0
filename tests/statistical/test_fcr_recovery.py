"""FCR finds the interaction block of a mild world better than random mixtures do (acceptance test 10 of fcr.md §11)."""

import anndata as ad
import numpy as np
from scipy.optimize import linear_sum_assignment

from scident import io
from scident.expression import log_normalised
from scident.models.base import Member
from scident.models.fcr import FCR, Params
from scident.simulators import factorised
from scident.stages.data import separate


def residuals(z, pair):
    """Remove mean and sd of each condition."""
    z = z.copy()
    for k in np.unique(pair):
        z[pair == k] = (z[pair == k] - z[pair == k].mean(0)) / z[pair == k].std(0)
    return z


def interaction_mcc(truth, z, pair):
    """Match the four latents of z_tx with any of z, in all cells of the test part."""
    correlation = np.abs(np.corrcoef(residuals(truth, pair), residuals(z, pair), rowvar=False)[:4, 4:])
    return correlation[linear_sum_assignment(-correlation)].mean()


def test_the_interaction_block_is_found_better_than_by_random_mixtures():
    world = factorised.simulate(factorised.Params(cells_per_condition=100), np.random.default_rng(7))
    observed, truth = separate(world)
    part = np.random.default_rng(0).choice(3, observed.n_obs, p=[0.7, 0.1, 0.2])
    train, val, test = (io.subset(observed, part == k) for k in range(3))
    params = Params(epochs=100)
    members = [Member(f"r0.g0.s{s}", train, val, params, 10, np.random.SeedSequence(s)) for s in range(2)]
    pair = test.obs.groupby(["perturbation", "context"], observed=True).ngroup().to_numpy()
    factors = truth.obsm["z_true"][part == 2][:, 3:7]
    found = [interaction_mcc(factors, tx_of(one.model, test), pair) for one in FCR.fit_members(members)]
    rng = np.random.default_rng(1)
    x = log_normalised(test)
    random = [interaction_mcc(factors, x @ rng.standard_normal((x.shape[1], 10)), pair) for _ in range(20)]
    # the worse of two short trainings against the best of twenty mixtures, which may even choose among ten latents
    assert min(found) > max(random)


def tx_of(model: FCR, cells: ad.AnnData):
    """Return the block z_tx."""
    return model.embed(cells)[:, np.array(model.blocks()) == "tx"]
