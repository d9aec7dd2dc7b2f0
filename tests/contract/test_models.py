"""Every model keeps its word; a new file in ``models/`` is tested here without an edit."""

import inspect
import logging
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy import sparse

from _tiny import N_LATENTS, member, pairs, params_of, world
from scident import io, registry
from scident.errors import NotApplicable, ScidentError
from scident.expression import log_normalised
from scident.info import ModelInfo
from scident.models.base import Model
from scident.stages._members import load_states, model_class, save_states
from scident.types import KINDS

MODELS = registry.known("models")
PERTURBATIONS, HELDOUT = 6, 1
GIVES = {"latents", "targets", "predictions", "likelihood", "graph"}
ROLES = {"method", "ablation", "baseline", "positive_control", "negative_control"}

pytestmark = pytest.mark.parametrize("use", MODELS)


@cache
def place():
    found = world(perturbations=PERTURBATIONS, heldout=HELDOUT)
    found.truth.uns["blocks"] = np.array(["x", "tx", "tx"])  # for controls that turn the truth block by block
    return found


def info_of(use) -> ModelInfo:
    return registry.describe("models", use)


def fitted(use, seed=0, at=None):
    (found,) = model_class(use).fit_members([member(at or place(), params_of(use), seed)])
    assert found.model is not None, found.reason
    return knowing(use, found.model)


def knowing(use, model, truth=None):
    """Give the truth, or the other half of the scored conditions, to those who may have it."""
    if info_of(use).reads_truth:
        model.truth = place().truth if truth is None else truth
    elif info_of(use).role == "positive_control":
        model.other_half = screen().val
    return model


@cache
def model_of(use):
    return fitted(use)


def embeds(use):
    return "latents" in info_of(use).gives


@cache
def screen():
    return pairs()


def means(model, seed=0, **changes):
    return model.predict(replace(screen().request, **changes), np.random.default_rng(seed))


def said(use, model):
    """What a model is fitted for: latents, or predictions if it gives none."""
    return model.embed(place().cells) if embeds(use) else means(model).mean


def embedding(use, seed=0):
    return said(use, fitted(use, seed))


def test_info_is_complete(use):
    info = info_of(use)
    assert info.label
    assert info.source
    assert {"latents", "predictions"} & set(info.gives)
    assert set(info.gives) <= GIVES
    assert info.role in ROLES
    assert info.identifiability in {"component", "affine", "block", "none"}
    assert (info.likelihood != "none") == ("likelihood" in info.gives)
    assert not info.label_conditioned or "likelihood" in info.gives
    assert info.assumes
    assert info.licence


def test_file_explains_itself_and_its_parameters(use):
    module = registry.load("models", use)
    assert inspect.getdoc(module)
    assert inspect.getdoc(model_class(use))
    assert all(field.description for field in module.Params.model_fields.values())
    module.Params()  # every parameter has a default


def test_embed_gives_one_finite_row_per_cell(use):
    if not embeds(use):
        with pytest.raises(ScidentError, match="declares latents but does not implement embed"):
            model_of(use).embed(place().cells)
        return
    z = model_of(use).embed(place().cells)
    assert z.shape == (place().cells.n_obs, N_LATENTS)
    assert np.issubdtype(z.dtype, np.floating)
    assert np.isfinite(z).all()


def test_embed_follows_the_order_of_the_cells(use):
    """Unless it is a negative control that does not look at its cells at all."""
    if not embeds(use):
        return
    order = np.random.default_rng(0).permutation(place().cells.n_obs)
    model = fitted(use)
    z = model.embed(place().cells)
    knowing(use, model, truth=place().truth[order].copy())
    turned = model.embed(io.subset(place().cells, order))
    blind = info_of(use).role == "negative_control" and np.array_equal(turned, z)
    # other cells share the matrix products, so sums may round differently; single precision keeps 1e-5
    assert blind or np.allclose(turned, z[order], rtol=1e-4, atol=1e-5)


def test_embed_reads_sparse_and_dense_counts_alike(use):
    if not embeds(use):
        return
    cells = place().cells.copy()
    dense = model_of(use).embed(cells)
    cells.X = sparse.csr_matrix(cells.X)
    np.testing.assert_allclose(model_of(use).embed(cells), dense, rtol=1e-4, atol=1e-5)


def test_save_and_load_lose_nothing(use, tmp_path):
    model = model_of(use)
    save_states(tmp_path / "model.pt", {"r0.g0.s0": model.state})
    again = knowing(use, model_class(use)(model.params, model.n_latents))
    again.state = load_states(tmp_path / "model.pt")["r0.g0.s0"]
    np.testing.assert_array_equal(said(use, again), said(use, model))
    if "targets" in info_of(use).gives:
        np.testing.assert_array_equal(again.targets().score, model.targets().score)
    if "likelihood" in info_of(use).gives:
        one, two = (m.likelihood(place().cells, np.random.default_rng(0), 2) for m in (model, again))
        np.testing.assert_array_equal(one.nelbo, two.nelbo)
        np.testing.assert_array_equal(one.iwelbo, two.iwelbo)


def test_the_same_seed_gives_the_same_model(use):
    np.testing.assert_array_equal(embedding(use, 3), embedding(use, 3))


def test_another_seed_gives_another_model_if_it_says_stochastic(use):
    same = np.array_equal(embedding(use, 3), embedding(use, 4))
    # what the truth is does not depend on a seed, but a stochastic control must
    assert same != info_of(use).stochastic


def test_fit_alone_is_fit_among_members(use):
    model = knowing(use, model_class(use)(params_of(use), N_LATENTS))
    model.fit(place().train, place().val, np.random.default_rng(np.random.SeedSequence(0)))
    np.testing.assert_array_equal(said(use, model), embedding(use, 0))


def test_targets_have_a_row_per_perturbation_and_a_column_per_latent(use):
    targets = model_of(use).targets()
    if "targets" not in info_of(use).gives:
        assert targets is None
        return
    assert targets.score.shape == targets.on.shape == (PERTURBATIONS, N_LATENTS)
    assert np.isfinite(targets.score).all()
    assert targets.on.dtype == bool
    assert targets.source in {"mask", "shift", "truth"}


@pytest.mark.parametrize("bound", ["nelbo", "iwelbo"])
def test_likelihood_is_finite_for_every_cell_and_drawn_from_its_argument(use, bound):
    if "likelihood" not in info_of(use).gives:
        return
    found = [model_of(use).likelihood(place().cells, np.random.default_rng(s), 5) for s in (0, 0, 1)]
    one, two, other = (getattr(f, bound) for f in found)
    assert one.shape == (place().cells.n_obs,)
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, two)
    if info_of(use).likelihood.startswith("exact"):
        np.testing.assert_array_equal(one, other)
        return
    assert not np.array_equal(one, other)
    difference = one - other
    # two unbiased draws of one bound differ by chance alone: five standard errors in the mean of all cells
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(difference))
    # and a draw of 3 latents moves the bound of a cell by a small part of it
    assert np.abs(difference).mean() < 0.1 * np.abs(one).mean()


def test_more_samples_tighten_the_bound_and_none_are_drawn_unasked(use):
    if "likelihood" not in info_of(use).gives:
        return
    model, rng = model_of(use), np.random.default_rng(0)
    assert model.likelihood(place().cells, rng).iwelbo is None
    found = model.likelihood(place().cells, rng, 20)
    gain = found.iwelbo + found.nelbo
    assert gain.mean() >= -4 * gain.std() / np.sqrt(len(gain))


def test_a_model_that_adapts_fits_the_perturbations_it_is_given_and_stays_itself(use, tmp_path):
    if not info_of(use).adapts:
        if not model_class(use).retrains:
            assert model_of(use).prepared() is model_of(use)
        return
    kind, one = model_class(use), member(place(), params_of(use))
    fitted_once = kind.fit_members([one])
    (found,) = kind.retrain_members([one], fitted_once, published=False)
    model = found.model
    cells = io.subset(place().cells, (place().cells.obs["perturbation"].cat.codes == PERTURBATIONS - 1).to_numpy())
    np.testing.assert_array_equal(model.embed(cells), fitted_once[0].model.embed(cells))
    save_states(tmp_path / "model.pt", {"r0.g0.s0": model.state})
    again = kind(model.params, model.n_latents)
    again.state = load_states(tmp_path / "model.pt")["r0.g0.s0"]
    before = again.prepared().likelihood(cells, np.random.default_rng(0)).nelbo
    for published in (False, True):
        one, two = (m.prepared().adapt(cells, np.random.default_rng(1), published) for m in (model, again))
        bounds = [m.likelihood(cells, np.random.default_rng(0)).nelbo for m in (one, two)]
        np.testing.assert_array_equal(*bounds)
        assert np.isfinite(bounds[0]).all()
        assert not np.array_equal(bounds[0], before)
    np.testing.assert_array_equal(again.prepared().likelihood(cells, np.random.default_rng(0)).nelbo, before)


def predicts(use):
    return "predictions" in info_of(use).gives


@cache
def predicting(use):
    return fitted(use, at=screen())


def test_predictions_are_finite_rows_of_conditions_asked_for(use):
    if not predicts(use):
        with pytest.raises(ScidentError, match="declares predictions but does not implement predict"):
            means(model_of(use))
        return
    found, asked = means(predicting(use)), screen().request
    assert found.mean.shape == (len(found.obs), asked.seen.n_vars)
    assert len(found.obs)
    assert np.isfinite(found.mean).all()
    assert set(found.obs["kind"]) <= set(KINDS)
    rows = list(found.obs[["perturbation", "context", "kind"]].itertuples(index=False, name=None))
    assert len(set(rows)) == len(rows)
    assert {row[:2] for row in rows} <= set(asked.conditions.itertuples(index=False, name=None))


def test_predictions_come_from_seen_cells_unless_they_are_reconstructions(use):
    """Other counts of the scored cells leave every kind but the reconstruction as it is."""
    if not predicts(use):
        return
    scored = screen().request.scored.copy()
    scored.X = np.random.default_rng(0).poisson(9.0, scored.shape).astype(np.float32)
    found, other = means(predicting(use)), means(predicting(use), scored=scored)
    assert found.obs.equals(other.obs)
    rebuilt = (found.obs["kind"] == "reconstruction").to_numpy()
    np.testing.assert_array_equal(found.mean[~rebuilt], other.mean[~rebuilt])
    assert (found.mean[rebuilt] != other.mean[rebuilt]).any(axis=1).all()


def test_predictions_are_on_the_scale_of_expression_and_follow_their_generator(use):
    if not predicts(use):
        return
    found, again = (means(predicting(use), seed=1) for _ in range(2))
    np.testing.assert_array_equal(found.mean, again.mean)
    seen = log_normalised(screen().request.seen)
    # two epochs teach a network little more than the mean of all cells, but that they do
    assert abs(found.mean.mean() - seen.mean()) < 0.5 * seen.mean()


def test_predictions_of_a_loaded_model_are_the_same_and_leave_their_input_alone(use, tmp_path):
    if not predicts(use):
        return
    model, asked = predicting(use), screen().request
    before = [io.digest_cells(cells) for cells in (asked.seen, asked.scored)], asked.conditions.copy()
    save_states(tmp_path / "model.pt", {"r0.g0.s0": model.state})
    again = knowing(use, model_class(use)(model.params, model.n_latents))
    again.state = load_states(tmp_path / "model.pt")["r0.g0.s0"]
    np.testing.assert_array_equal(means(again).mean, means(model).mean)
    assert [io.digest_cells(cells) for cells in (asked.seen, asked.scored)] == before[0]
    assert asked.conditions.equals(before[1])


def test_companions_are_latents_of_the_same_shape(use):
    """What the labels alone give does not move with expression; what shuffled expression gives does."""
    if not embeds(use) or type(model_of(use)).companions is Model.companions:
        return
    cells = screen().request.scored
    other = cells.copy()
    other.X = np.random.default_rng(0).poisson(9.0, other.shape).astype(np.float32)
    model = predicting(use)
    z = model.embed(cells)
    one, two, changed = (model.companions(c, np.random.default_rng(0)) for c in (cells, cells, other))
    if not one:  # its encoder reads no labels
        return
    assert set(one) == {"prior_only", "shuffled_expression"}
    for name, found in one.items():
        assert found.shape == z.shape
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, two[name])
        assert not np.array_equal(found, z)
    np.testing.assert_array_equal(changed["prior_only"], one["prior_only"])
    assert not np.array_equal(changed["shuffled_expression"], one["shuffled_expression"])


def test_fit_and_embed_draw_nothing_from_global_generators(use):
    numpy_before, torch_before = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002 - it is watched
    embedding(use)
    numpy_after = np.random.get_state(legacy=False)  # noqa: NPY002 - it is watched
    assert numpy_after["state"]["pos"] == numpy_before["state"]["pos"]
    np.testing.assert_array_equal(numpy_after["state"]["key"], numpy_before["state"]["key"])
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_fit_and_embed_leave_their_input_alone(use):
    own = world(perturbations=PERTURBATIONS, heldout=HELDOUT)
    blocks = (own.train, own.val, own.cells)
    before = [(io.digest_cells(b), b.obs.copy(), list(b.obsm), list(b.uns), list(b.layers)) for b in blocks]
    model = fitted(use, at=own)
    if embeds(use):
        model.embed(own.cells)
    for block, (digest, obs, *others) in zip(blocks, before, strict=True):
        assert io.digest_cells(block) == digest
        assert block.obs.equals(obs)
        assert [list(block.obsm), list(block.uns), list(block.layers)] == others


def test_only_a_positive_control_asks_for_the_truth(use, caplog):
    """Training never holds it; without it, or the cells it may see, it has nothing to say and everyone else all."""
    with caplog.at_level(logging.CRITICAL):
        (found,) = model_class(use).fit_members([member(place(), params_of(use))])
    assert found.model.truth is None
    if info_of(use).reads_truth:
        with pytest.raises(ScidentError, match="truth"):
            found.model.embed(place().cells)
    elif info_of(use).role == "positive_control":
        with pytest.raises(NotApplicable, match="no_other_half"):
            said(use, found.model)
    else:
        said(use, found.model)


def test_parameters_refuse_what_they_do_not_know(use):
    with pytest.raises(ValueError, match="no_such_parameter"):
        registry.load("models", use).Params(no_such_parameter=1)
