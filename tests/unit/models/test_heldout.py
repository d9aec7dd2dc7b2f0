"""The three phases of held-out perturbations (svae.md §7), for every model that adapts."""

from functools import cache

import numpy as np
import pytest
import torch

from _tiny import N_LATENTS, member, params_of, stack_of, streams, world
from scident import io, registry
from scident.engine import checkpoint, trainer
from scident.errors import NotApplicable
from scident.models import _count_vae
from scident.models._design import design_of
from scident.models._heldout import Prepared, shift_slope
from scident.models._shift_prior import FrozenMaskNetwork
from scident.stages._members import load_states, model_class, save_states

ADAPTING = [name for name in registry.known("models") if getattr(registry.describe("models", name), "adapts", False)]
HELDOUT = 5
"""Code of the perturbation without training cells."""

every = pytest.mark.parametrize("use", ADAPTING)
both = pytest.mark.parametrize("published", [False, True])


@cache
def place():
    return world(cells=50)


@cache
def heldout_cells():
    return io.subset(place().cells, (place().cells.obs["perturbation"].cat.codes == HELDOUT).to_numpy())


def one(use, seed=0, key="", **params):
    setting = {"epochs": 3, "learning_rate": 2e-2, "warmup_epochs": 2, "batch_size": 32} | params
    return member(place(), params_of(use, **setting), seed, name=f"r0.g0.s{seed}", key=key)


def mixed_mask(model):
    """Push some mask entries off, one of them to q = 0.5 exactly."""
    if "mask_logits" in model.state:
        model.state["mask_logits"] = np.linspace(3, -3, 18, dtype=np.float32).reshape(6, N_LATENTS)
        model.state["mask_logits"][1, 1] = 0
    return model


@cache
def trained(use, **params):
    (found,) = model_class(use).fit_members([one(use, **params)])
    mixed_mask(found.model)
    return found


def again(use, published=False, checkpoints=None, members=None, **params):
    found = trained(use, **params)
    return model_class(use).retrain_members(members or [one(use, **params)], [found], published, checkpoints)[0]


@cache
def prepared(use, published=False, **params):
    return again(use, published, **params).model.prepared()


def draw(seed=0):
    return np.random.default_rng(seed)


def test_models_with_shifts_adapt_and_no_others():
    assert set(ADAPTING) == {"ivae_released", "ivae_fixed", "svae", "svae_plus"}


@pytest.mark.parametrize("use", ["vae", "beta_vae"])
def test_models_without_labels_are_trained_again_like_the_others(use):
    first, second = trained(use).model, again(use).model.prepared()
    assert all(np.array_equal(trained(use).model.state[name], value) for name, value in first.state.items())
    assert not np.array_equal(second.state["mean.weight"], first.state["mean.weight"])
    (found,) = model_class(use).retrain_members([one(use, retrain_epochs=0)], [trained(use)], published=False)
    for name, value in found.model.prepared().state.items():
        np.testing.assert_array_equal(value, first.state[name])
    assert not hasattr(type(second), "_descend")  # there is nothing to fit


@every
def test_only_freezing_keeps_every_array_but_mask_and_unseen_rows(use):
    found = again(use, retrain_epochs=0)
    assert (found.epochs, found.epochs_run, found.history) == (0, 0, [])
    first, frozen = trained(use, retrain_epochs=0).model, found.model.prepared()
    expected = first.mask_probability() > 0.5
    expected[HELDOUT] = True
    np.testing.assert_array_equal(frozen.state["mask"], expected)
    assert use == "ivae_fixed" or 0 < frozen.state["mask"].mean() < 1
    assert use == "ivae_fixed" or frozen.state["mask"][1, 1] == 0  # strictly
    assert not frozen.state["shift"][HELDOUT].any()
    np.testing.assert_array_equal(frozen.state["shift"][:HELDOUT], first.state["shift"][:HELDOUT])
    rest = set(frozen.state) - {"mask", "shift"}
    assert rest == set(first.state) - {"shift", "mask_logits", "spread"}
    assert all(np.array_equal(frozen.state[name], first.state[name]) for name in rest)


@every
def test_retraining_moves_all_parameters_but_the_mask(use):
    frozen, moved = prepared(use, retrain_epochs=0), prepared(use)
    np.testing.assert_array_equal(moved.state["mask"], frozen.state["mask"])
    assert "mask_logits" not in moved.state
    assert not moved.state["shift"][HELDOUT].any()
    rest = set(moved.state) - {"mask"}
    assert not any(np.array_equal(moved.state[name], frozen.state[name]) for name in rest)


@every
def test_the_trained_model_stays_what_it_was(use, tmp_path):
    first, found = trained(use).model, again(use)
    assert {name for name in found.model.state if not name.startswith("retrained.")} == set(first.state)
    np.testing.assert_array_equal(found.model.embed(place().cells), first.embed(place().cells))
    np.testing.assert_array_equal(found.model.targets().score, first.targets().score)
    save_states(tmp_path / "model.pt", {"m": found.model.state})
    loaded = model_class(use)(first.params, N_LATENTS)
    loaded.state = load_states(tmp_path / "model.pt")["m"]
    before, after = (m.prepared().likelihood(place().val, draw()).nelbo for m in (found.model, loaded))
    np.testing.assert_array_equal(before, after)
    assert not np.array_equal(before, first.likelihood(place().val, draw()).nelbo)


@every
def test_a_model_that_was_not_retrained_says_so(use):
    with pytest.raises(NotApplicable, match="not_retrained"):
        trained(use).model.prepared()


@every
def test_the_frozen_mask_is_the_same_at_every_evaluation(use):
    model = prepared(use)
    network, stack, data = model._network(place().val)
    labels = data.gather(torch.arange(20)[None]).labels
    noises = [network.noise(streams(seed), 20, training=False) for seed in (0, 1)]
    assert not torch.equal(noises[0]["z"], noises[1]["z"])
    priors = [network.prior_mean(stack, labels, noise) for noise in noises]
    assert torch.equal(*priors)
    expected = (model.state["mask"] * model.state["shift"])[labels[0].numpy()].T
    np.testing.assert_array_equal(priors[0][0].detach().numpy(), expected)


def kl_weights(use, published, beta, epochs=(0, 1, 2)):
    """Return (weight of R, weights of the KL by epoch) in the loss of phase 2."""
    (first,) = [trained(use).model]
    start = first._again(one(use, beta=beta), published)
    network = Prepared.network(start.params, design_of(place().train, N_LATENTS))

    def loss(hyper, epoch):
        model = Prepared(start.params, N_LATENTS)
        model.state = start.state
        _, stack, data = model._network(place().train)
        stack.h = {name: torch.tensor([value]) for name, value in hyper.items()}
        batch = data.gather(torch.arange(64)[None])
        noise = network.noise(streams(0, dtype=torch.float32), 64, training=True)
        return float(network.loss(stack, batch, noise, torch.tensor(epoch)).detach())

    plain = start.hyper | {"scale": 1.0, "warmup_epochs": 0.0}
    r = loss(plain | {"beta": 0.0}, 0)
    kl = loss(plain | {"beta": 1.0}, 0) - r
    scale = loss(start.hyper | {"beta": 0.0}, 5) / r
    return scale, [(loss(start.hyper, epoch) / scale - r) / kl for epoch in epochs]


@every
def test_without_published_code_every_method_retrains_on_one_rule(use):
    scale, weights = kl_weights(use, published=False, beta=2)
    assert scale == pytest.approx(place().train.n_obs if use == "svae_plus" else 1, rel=1e-5)
    assert weights == pytest.approx([2, 2, 2], rel=1e-2)


@every
def test_published_retraining_treats_svae_plus_apart(use):
    scale, weights = kl_weights(use, published=True, beta=2)
    assert scale == pytest.approx(place().train.n_obs if use == "svae_plus" else 1, rel=1e-5)
    assert weights == pytest.approx([1, 1, 1] if use == "svae_plus" else [0, 2, 2], rel=1e-2, abs=1e-3)


@every
def test_retraining_draws_from_streams_of_its_own(use):
    start = trained(use).model._again(one(use), published=False)
    mine, theirs = (trainer.Streams([seed], torch.device("cpu"), torch.float32) for seed in (start.seed, one(use).seed))
    for found in (mine, theirs):
        found.start(trainer.TRAIN, 0)
    assert not torch.equal(mine.permutations(100), theirs.permutations(100))


@both
def test_an_interrupted_retraining_ends_as_an_undisturbed_one(tmp_path, monkeypatch, published):
    monkeypatch.setattr("scident.models._batched.train", lambda *a: trainer.train(*a, save_every_s=-1))
    kind, members = model_class("svae_plus"), [one("svae_plus", s, f"key{s}") for s in (1, 2)]
    fitted = kind.fit_members(members, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    undisturbed = kind.retrain_members(members, fitted, published)
    with monkeypatch.context() as patch:
        real = checkpoint.Store.save

        def save(store, positions, running):
            real(store, positions, running)
            if any(m.epoch == 2 for m in running):
                raise KeyboardInterrupt

        patch.setattr(checkpoint.Store, "save", save)
        with pytest.raises(KeyboardInterrupt):
            kind.retrain_members(members, fitted, published, tmp_path)
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())
    resumed = kind.retrain_members(members, fitted, published, tmp_path)
    assert [f.epochs_run for f in resumed] == [1, 1]
    for a, b in zip(undisturbed, resumed, strict=True):
        assert (a.history, a.epochs) == (b.history, b.epochs)
        assert all(np.array_equal(a.model.state[n], b.model.state[n]) for n in a.model.state)
    # the other protocol does not take these files for its own
    (other, _) = kind.retrain_members(members, fitted, not published, tmp_path)
    assert other.epochs_run == 3
    assert not np.array_equal(other.model.state["retrained.mean.weight"], a.model.state["retrained.mean.weight"])


@every
def test_retraining_reports_its_own_epochs_and_history(use):
    for setting, epochs in (({}, 3), ({"retrain_epochs": 2}, 2), ({"patience": 1, "retrain_epochs": 50}, None)):
        found = again(use, **setting)
        assert found.epochs == epochs if epochs else found.epochs < 50
        assert found.epochs_run == found.epochs
        assert {epoch for epoch, *_ in found.history} == set(range(found.epochs))


def test_members_retrain_together_and_failed_ones_are_passed_on(monkeypatch):
    sizes = []

    def watch(network, running, *rest):
        sizes.append(len(running))
        trainer.train(network, running, *rest)

    kind = model_class("svae_plus")
    settings = [{"penalty": 5.0}, {"learning_rate": 1e30}, {"penalty": 50.0, "retrain_epochs": 1}]
    members = [one("svae_plus", seed, **setting) for seed, setting in enumerate(settings)]
    fitted = kind.fit_members(members)
    monkeypatch.setattr("scident.models._batched.train", watch)
    good, bad, short = kind.retrain_members(members, fitted, False)
    assert sizes == [2]
    assert bad is fitted[1]
    assert (good.epochs, short.epochs) == (3, 1)
    assert good.resolved == fitted[0].resolved


def test_retraining_that_diverges_is_a_failure_with_its_reason():
    kind, wild = model_class("svae"), one("svae", epochs=0, retrain_epochs=3, learning_rate=1e30)
    fitted = kind.fit_members([wild])
    assert fitted[0].model is not None
    (found,) = kind.retrain_members([wild], fitted, False)
    assert (found.model, found.reason) == (None, "nonfinite_loss")


@every
def test_adapted_shifts_are_the_mean_of_the_encoders_means(use):
    model, cells = prepared(use), heldout_cells()
    before = {name: value.copy() for name, value in model.state.items()}
    adapted = model.adapt(cells, draw())
    np.testing.assert_allclose(adapted.state["shift"][HELDOUT], model.embed(cells).mean(0), rtol=1e-5)
    np.testing.assert_array_equal(adapted.state["shift"][:HELDOUT], before["shift"][:HELDOUT])
    assert all(np.array_equal(adapted.state[n], before[n]) for n in before if n != "shift")
    assert all(np.array_equal(model.state[n], before[n]) for n in before)


@every
def test_adapting_to_trained_perturbations_leaves_what_the_mask_turns_off(use):
    model = prepared(use)
    adapted = model.adapt(place().cells, draw())
    z, codes = model.embed(place().cells), place().cells.obs["perturbation"].cat.codes.to_numpy()
    means = np.stack([z[codes == k].mean(0) for k in range(6)])
    expected = np.where(model.state["mask"] > 0, means, model.state["shift"])
    np.testing.assert_allclose(adapted.state["shift"], expected, rtol=1e-5)


@every
@pytest.mark.parametrize("epochs", [None, 0])
def test_adapting_lowers_the_bound_by_half_the_squared_shift(use, epochs):
    """½ mean|m|² - ½ mean|m - μ|² = ½|μ|² at the mean: exact, as both bounds draw the same z."""
    model, cells = prepared(use, retrain_epochs=epochs), heldout_cells()
    adapted = model.adapt(cells, draw())
    zero, fine = (m.likelihood(cells, draw(1)).nelbo.mean() for m in (model, adapted))
    assert zero - fine == pytest.approx(0.5 * (adapted.state["shift"][HELDOUT] ** 2).sum(), rel=1e-2)


def double(use):
    """Return network, stack and batch of a prepared model in double precision, and the closed form."""
    model, cells = prepared(use), place().cells
    params = model.params
    network = FrozenMaskNetwork(params, 20, N_LATENTS, 6)
    stack = stack_of(network, {})
    with torch.no_grad():
        for values in (stack.p, stack.b):
            for name, value in values.items():
                value[0] = torch.from_numpy(model.state[name]).double()
        codes = cells.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)
        batch = trainer.Cells([cells.X], [codes], torch.device("cpu"), torch.float64).gather(torch.arange(300)[None])
        mean, variance = network.encode(stack, batch)
        shift = torch.stack([mean[0].T[codes == k].mean(0) for k in range(6)])
    return network, stack, batch, (mean, variance), shift


@every
def test_the_closed_form_is_where_the_networks_kl_is_stationary(use):
    network, stack, batch, (mean, variance), shift = double(use)
    with torch.no_grad():
        stack.p["shift"][0] = shift
    loss = network.divergence(stack, mean, variance, batch.labels, {}).mean()
    (slope,) = torch.autograd.grad(loss, stack.p["shift"])
    assert float(slope.norm()) < 1e-8
    with torch.no_grad():
        stack.p["shift"][0, 0] += 0.1
    loss = network.divergence(stack, mean, variance, batch.labels, {}).mean()
    (slope,) = torch.autograd.grad(loss, stack.p["shift"])
    assert use == "ivae_fixed" or stack.b["mask"].min() == 0
    assert float(slope.norm()) > 1e-3 or not stack.b["mask"][0, 0].any()


@every
def test_full_batch_descent_reaches_the_closed_form(use):
    network, stack, batch, (mean, variance), expected = double(use)
    mask, labels, means = stack.b["mask"][0], batch.labels[0], mean[0].T
    shift = torch.randn(6, N_LATENTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stack.p["shift"][0] = shift
    loss = network.divergence(stack, mean, variance, batch.labels, {}).mean()
    slope = torch.autograd.grad(loss, stack.p["shift"], retain_graph=True)[0][0]
    torch.testing.assert_close(shift_slope(shift, mask, means, labels), slope)
    with torch.no_grad():
        for _ in range(100):
            shift -= 3 * shift_slope(shift, mask, means, labels)
    torch.testing.assert_close(mask * shift, mask * expected, rtol=0, atol=1e-3)


@every
def test_published_adapting_trains_the_encoder_modes_and_needs_no_decoder(use, monkeypatch):
    real, seen = _count_vae.CountVAENetwork.encode, []

    def encode(self, stack, batch, training=False, masks=None):
        seen.append((training, masks is not None, len(batch)))
        return real(self, stack, batch, training, masks)

    model = prepared(use)
    monkeypatch.setattr(_count_vae.CountVAENetwork, "encode", encode)
    monkeypatch.setattr(_count_vae.CountVAENetwork, "decode", None)
    adapted = model.adapt(heldout_cells(), draw(), published=True)
    # 50 cells in batches of 32, as many epochs as phase 2 has
    assert seen == [(True, True, 32), (True, True, 18)] * 3
    assert not np.array_equal(adapted.state["shift"][HELDOUT], model.state["shift"][HELDOUT])


@every
def test_published_adapting_moves_running_statistics_of_the_encoder_for_baselines_alone(use):
    model = prepared(use)
    before = {name: value.copy() for name, value in model.state.items()}
    adapted = model.adapt(heldout_cells(), draw(), published=True)
    moved = {name for name in before if not np.array_equal(adapted.state[name], before[name])}
    statistics = {f"encoder.{layer}.{name}" for layer in (0, 1) for name in ("mean", "variance")}
    assert statistics < set(before)
    assert moved == {"shift"} | (set() if use == "svae_plus" else statistics)
    np.testing.assert_array_equal(adapted.state["shift"][:HELDOUT], before["shift"][:HELDOUT])
    assert all(np.array_equal(model.state[name], before[name]) for name in before)
    other = adapted.adapt(heldout_cells(), draw())  # a copy of its own: adapting it again is possible
    np.testing.assert_allclose(other.state["shift"][HELDOUT], adapted.embed(heldout_cells()).mean(0), rtol=1e-5)


@every
def test_published_adapting_leaves_the_kl_out_of_the_first_epoch_but_for_svae_plus(use):
    model = prepared(use, retrain_epochs=1, batch_size=1000)
    shift = model.adapt(heldout_cells(), draw(), published=True).state["shift"][HELDOUT]
    if use == "svae_plus":  # N = 50 cells make Adam's eps small: a step is nearly the learning rate
        np.testing.assert_allclose(np.abs(shift), 5e-3, rtol=0.2)
    else:
        assert not shift.any()


@pytest.mark.parametrize("use", ["svae_plus", "ivae_released"])
def test_published_adapting_without_dropout_ends_at_the_mean_in_training_mode(use):
    setting = {"dropout": 0, "batch_size": 1000}
    model, cells = prepared(use, **setting), heldout_cells()
    model.params = model.params.model_copy(update={"retrain_epochs": 1000})
    shift = model.adapt(cells, draw(), published=True).state["shift"][HELDOUT]
    model.params = model.params.model_copy(update={"retrain_epochs": None})
    network, stack, data = model._network(cells)
    mean, _ = network.encode(stack, data.gather(torch.arange(cells.n_obs)[None]), training=True)
    np.testing.assert_allclose(shift, mean[0].mean(1).detach().numpy(), atol=1e-3)
    assert np.abs(shift - model.embed(cells).mean(0)).max() > 1e-2


@every
def test_published_adapting_draws_from_its_argument_alone(use):
    model = prepared(use)
    shifts = [model.adapt(heldout_cells(), draw(s), published=True).state["shift"] for s in (0, 0, 1)]
    np.testing.assert_array_equal(shifts[0], shifts[1])
    assert not np.array_equal(shifts[0], shifts[2])
