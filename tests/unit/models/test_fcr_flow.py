"""The model around the map. Untrained it is probabilistic principal components, so all it says has a closed form."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from _tiny import World
from scident import io
from scident.errors import ScidentError
from scident.expression import dense
from scident.models import _whitening
from scident.models.base import Member
from scident.models.fcr_flow import FCRFlow, Params
from scident.simulators import factorised
from scident.stages.data import separate
from scident.types import Request

SIZES = (1, 2, 1)
LATENTS = sum(SIZES)
LEFT_OUT = "t1", "x2"
"""A pair of perturbation and context without training cells."""


@cache
def place():
    """A small factorised world; half of the cells train, a quarter validate."""
    sizes = dict(zip(("d_x", "d_tx", "d_t"), SIZES, strict=True))
    size = {"n_latents": LATENTS, "n_contexts": 4, "n_treatments": 3, "cells_per_condition": 40, "n_genes": 12}
    observed, truth = separate(factorised.simulate(factorised.Params(**size, **sizes), np.random.default_rng(0)))
    part = observed.obs.groupby(["perturbation", "context"], observed=False).cumcount().to_numpy() % 4
    out = pair(observed.obs, *LEFT_OUT)
    return World(io.subset(observed, (part < 2) & ~out), io.subset(observed, (part == 2) & ~out), observed, truth)


def pair(obs, perturbation, context):
    return ((obs["perturbation"] == perturbation) & (obs["context"] == context)).to_numpy()


@cache
def fitted(epochs=0, seed=0, **more):
    params = Params(**({"epochs": epochs, "couplings": 2, "width": 8, "starts": 1, "batch_size": 64} | more))
    one = Member("r0.g0.s0", place().train, place().val, params, LATENTS, np.random.SeedSequence(seed))
    (found,) = FCRFlow.fit_members([one])
    assert found.model is not None, found.reason
    return found.model


def covariance(state):
    components, sd, rest = (
        state[n].astype(np.float64) for n in (_whitening.COMPONENTS, _whitening.SD, _whitening.REST)
    )
    return (components.T * (sd[:, 0] ** 2 - rest)) @ components + rest * np.eye(components.shape[1])


def test_untrained_it_is_a_normal_density_of_expression():
    model, y = fitted(), dense(place().cells)
    normal = stats.multivariate_normal(model.state[_whitening.MEAN][:, 0].astype(np.float64), covariance(model.state))
    found = model.likelihood(place().cells, np.random.default_rng(0))
    # single precision of the components and the map
    np.testing.assert_allclose(-found.nelbo, normal.logpdf(y), rtol=1e-3, atol=5e-3)
    assert found.iwelbo is None


def test_the_bound_is_exact_however_many_samples():
    model = fitted(epochs=3)
    found = [model.likelihood(place().val, np.random.default_rng(s), samples) for s, samples in ((0, 1), (1, 50))]
    np.testing.assert_array_equal(found[0].iwelbo, -found[0].nelbo)
    np.testing.assert_array_equal(found[0].iwelbo, found[1].iwelbo)


def test_training_raises_the_density_of_cells_it_has_not_seen():
    gain = [fitted(epochs=e).likelihood(place().val, np.random.default_rng(0)).nelbo for e in (0, 60)]
    difference = gain[0] - gain[1]
    assert difference.mean() > 4 * difference.std() / np.sqrt(len(difference))


def test_latents_do_not_depend_on_labels_and_contexts_may_be_new():
    model, cells = fitted(epochs=3), place().val.copy()
    before = model.embed(cells)
    cells.obs["perturbation"] = cells.obs["perturbation"].cat.codes.to_numpy()[::-1]
    cells.obs["perturbation"] = pd.Categorical.from_codes(
        cells.obs["perturbation"], categories=place().val.obs["perturbation"].cat.categories
    )
    cells.obs["context"] = "nowhere"
    np.testing.assert_array_equal(model.embed(cells), before)
    with pytest.raises(ScidentError, match="nowhere"):
        model.likelihood(cells, np.random.default_rng(0))


def test_blocks_are_named_in_order():
    assert fitted().blocks() == ("x", "tx", "tx", "t")


def test_a_pair_without_cells_has_the_priors_of_the_others_additively():
    model = fitted(epochs=3)
    table = model.state["prior.tx"].reshape(4, 4, -1).astype(np.float64)
    perturbation, context = 1, 2  # codes of the pair left out
    rows, columns = np.delete(np.arange(4), context), np.delete(np.arange(4), perturbation)
    # the only hole of a table: effects of its row and its column are fitted to what is there
    known = table[np.ix_(rows, columns)]
    expected = table[context, columns].mean(0) + table[rows, perturbation].mean(0) - known.mean((0, 1))
    np.testing.assert_allclose(table[context, perturbation], expected, rtol=1e-4, atol=1e-5)


def request():
    observed = place().cells
    scored = io.subset(observed, np.arange(observed.n_obs) % 2 == 0)
    rows = [LEFT_OUT, ("t3", "x0")]
    return Request(place().train, scored, pd.DataFrame(rows, columns=["perturbation", "context"]))


def predictions(model, asked=None):
    asked = asked or request()
    found = model.predict(asked, np.random.default_rng(1))
    assert found.mean.shape == (len(found.obs), asked.seen.n_vars)
    return {
        (row["perturbation"], row["context"], row["kind"]): mean
        for row, mean in zip(found.obs.to_dict("records"), found.mean, strict=True)
    }


def test_every_condition_is_predicted_three_ways():
    kinds = ("reconstruction", "counterfactual", "label_only")
    conditions = (LEFT_OUT, ("t3", "x0"))
    assert set(predictions(fitted())) == {(*condition, kind) for condition in conditions for kind in kinds}


def test_a_reconstruction_is_what_the_leading_components_keep_of_the_scored_cells():
    model, asked = fitted(epochs=3), request()
    found = predictions(model)
    mean, components = (model.state[name] for name in (_whitening.MEAN, _whitening.COMPONENTS))
    for condition in (LEFT_OUT, ("t3", "x0")):
        y = dense(asked.scored)[pair(asked.scored.obs, *condition)].mean(0) - mean[:, 0]
        expected = y @ components.T @ components + mean[:, 0]
        np.testing.assert_allclose(found[*condition, "reconstruction"], expected, rtol=1e-4, atol=1e-4)


def test_untrained_predictions_are_those_of_a_linear_map():
    """Latents drawn from N(0, I) have the training mean; those kept from controls add their own part of it."""
    model, asked = fitted(), request()
    found = predictions(model)
    mean = model.state[_whitening.MEAN][:, 0]
    spread = np.sqrt(np.diag(covariance(model.state)))
    for condition in (LEFT_OUT, ("t3", "x0")):
        own = asked.seen.obs["is_control"].to_numpy() & (asked.seen.obs["context"] == condition[1]).to_numpy()
        z = model.embed(io.subset(asked.seen, own))
        z[:, 1:] = 0  # x has one latent here
        scores = (model.embed(asked.seen).T @ _whitening.scores(asked.seen, model.state)[0] / asked.seen.n_obs)[:1]
        kept = _whitening.expression_of(z[:, :1].mean(0, keepdims=True) @ scores, model.state)[0]
        # the mean of n draws has standard error sd / sqrt(n); 12 genes
        assert (np.abs(found[*condition, "label_only"] - mean) < 4.5 * spread / np.sqrt(2000)).all()
        assert (np.abs(found[*condition, "counterfactual"] - kept) < 4.5 * spread / np.sqrt(own.sum())).all()


def test_a_context_without_control_cells_has_no_counterfactual():
    asked = request()
    control = asked.seen.obs["is_control"].to_numpy() & (asked.seen.obs["context"] == "x2").to_numpy()
    found = predictions(fitted(), Request(io.subset(asked.seen, ~control), asked.scored, asked.conditions))
    assert (*LEFT_OUT, "counterfactual") not in found
    assert (*LEFT_OUT, "label_only") in found
    assert ("t3", "x0", "counterfactual") in found


def test_members_of_several_worlds_share_a_stack(monkeypatch):
    from scident.engine import trainer

    sizes = []

    def watch(network, running, *rest):
        sizes.append(len(running))
        trainer.train(network, running, *rest)

    monkeypatch.setattr("scident.models._batched.train", watch)
    params = Params(epochs=2, couplings=2, width=8, starts=2, batch_size=64)
    first = Member("r0.g0.s0", place().train, place().val, params, LATENTS, np.random.SeedSequence(0))
    scaled = [cells.copy() for cells in (place().train, place().val)]
    for cells in scaled:
        cells.X = 3 * cells.X
    second = Member("r1.g0.s0", *scaled, params, LATENTS, np.random.SeedSequence(0))
    one, other = FCRFlow.fit_members([first, second])
    assert sizes == [4]
    # whitening makes scaled expression the same problem
    np.testing.assert_allclose(other.model.embed(scaled[1]), one.model.embed(place().val), rtol=1e-2, atol=1e-2)
