"""Every model keeps its word; a new file in ``models/`` is tested here without an edit."""

import inspect
import logging
from functools import cache

import numpy as np
import pytest
import torch
from scipy import sparse

from _tiny import N_LATENTS, member, params_of, world
from scident import io, registry
from scident.errors import ScidentError
from scident.info import ModelInfo
from scident.stages._members import load_states, model_class, save_states

MODELS = registry.known("models")
PERTURBATIONS, HELDOUT = 6, 1
GIVES = {"latents", "targets", "predictions", "likelihood", "graph"}
ROLES = {"method", "ablation", "baseline", "positive_control", "negative_control"}

pytestmark = pytest.mark.parametrize("use", MODELS)


@cache
def place():
    return world(perturbations=PERTURBATIONS, heldout=HELDOUT)


def info_of(use) -> ModelInfo:
    return registry.describe("models", use)


def fitted(use, seed=0, at=None):
    (found,) = model_class(use).fit_members([member(at or place(), params_of(use), seed)])
    assert found.model is not None, found.reason
    return knowing(use, found.model)


def knowing(use, model, truth=None):
    """Give the truth to those who may have it."""
    if info_of(use).role == "positive_control":
        model.truth = place().truth if truth is None else truth
    return model


@cache
def model_of(use):
    return fitted(use)


def embedding(use, seed=0):
    return fitted(use, seed).embed(place().cells)


def test_info_is_complete(use):
    info = info_of(use)
    assert info.label
    assert info.source
    assert "latents" in info.gives
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
    z = model_of(use).embed(place().cells)
    assert z.shape == (place().cells.n_obs, N_LATENTS)
    assert np.issubdtype(z.dtype, np.floating)
    assert np.isfinite(z).all()


def test_embed_follows_the_order_of_the_cells(use):
    """Unless it is a negative control that does not look at its cells at all."""
    order = np.random.default_rng(0).permutation(place().cells.n_obs)
    model = fitted(use)
    z = model.embed(place().cells)
    knowing(use, model, truth=place().truth[order].copy())
    turned = model.embed(io.subset(place().cells, order))
    blind = info_of(use).role == "negative_control" and np.array_equal(turned, z)
    # other cells share the matrix products, so sums may round differently; single precision keeps 1e-5
    assert blind or np.allclose(turned, z[order], rtol=1e-4, atol=1e-5)


def test_embed_reads_sparse_and_dense_counts_alike(use):
    cells = place().cells.copy()
    dense = model_of(use).embed(cells)
    cells.X = sparse.csr_matrix(cells.X)
    np.testing.assert_allclose(model_of(use).embed(cells), dense, rtol=1e-4, atol=1e-5)


def test_save_and_load_lose_nothing(use, tmp_path):
    model = model_of(use)
    save_states(tmp_path / "model.pt", {"r0.g0.s0": model.state})
    again = knowing(use, model_class(use)(model.params, model.n_latents))
    again.state = load_states(tmp_path / "model.pt")["r0.g0.s0"]
    np.testing.assert_array_equal(again.embed(place().cells), model.embed(place().cells))
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
    np.testing.assert_array_equal(model.embed(place().cells), embedding(use, 0))


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
    assert gain.mean() > -4 * gain.std() / np.sqrt(len(gain))


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


def test_fit_and_embed_draw_nothing_from_global_generators(use):
    numpy_before, torch_before = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002 - it is watched
    fitted(use).embed(place().cells)
    numpy_after = np.random.get_state(legacy=False)  # noqa: NPY002 - it is watched
    assert numpy_after["state"]["pos"] == numpy_before["state"]["pos"]
    np.testing.assert_array_equal(numpy_after["state"]["key"], numpy_before["state"]["key"])
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_fit_and_embed_leave_their_input_alone(use):
    own = world(perturbations=PERTURBATIONS, heldout=HELDOUT)
    blocks = (own.train, own.val, own.cells)
    before = [(io.digest_cells(b), b.obs.copy(), list(b.obsm), list(b.uns), list(b.layers)) for b in blocks]
    fitted(use, at=own).embed(own.cells)
    for block, (digest, obs, *others) in zip(blocks, before, strict=True):
        assert io.digest_cells(block) == digest
        assert block.obs.equals(obs)
        assert [list(block.obsm), list(block.uns), list(block.layers)] == others


def test_only_a_positive_control_asks_for_the_truth(use, caplog):
    """Training never holds it; without it a positive control has nothing to say and everyone else all."""
    with caplog.at_level(logging.CRITICAL):
        (found,) = model_class(use).fit_members([member(place(), params_of(use))])
    assert found.model.truth is None
    if info_of(use).role == "positive_control":
        with pytest.raises(ScidentError, match="truth"):
            found.model.embed(place().cells)
    else:
        found.model.embed(place().cells)


def test_parameters_refuse_what_they_do_not_know(use):
    with pytest.raises(ValueError, match="no_such_parameter"):
        registry.load("models", use).Params(no_such_parameter=1)
