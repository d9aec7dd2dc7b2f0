"""What a fitted FCR gives, and that members, cells and partners are whose they should be."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from _factorised import N_LATENTS, SIZES, place
from scident import io
from scident.errors import ConfigError, ScidentError
from scident.expression import log_normalised
from scident.models import _fcr, fcr, fcr_authors, fcr_published
from scident.models._fcr_network import FCRNetwork
from scident.models._fcr_observation import prepared
from scident.models.base import Member
from scident.types import Request

BLOCKS = ("x", "tx", "tx", "t")


@pytest.fixture(scope="module")
def world():
    return place()


def params(module=fcr, **wanted):
    return module.Params(**({"width": 8, "epochs": 3, "batch_size": 32} | wanted))


def member(world, one, seed=0, name="r0.g0.s0"):
    return Member(name, world.train, world.val, one, N_LATENTS, np.random.SeedSequence(seed))


def fitted(world, kind=fcr.FCR, module=fcr, seed=0, **wanted):
    (found,) = kind.fit_members([member(world, params(module, **wanted), seed)])
    assert found.model is not None, found.reason
    return found.model


class Double(fcr.FCR):
    """Double precision, so that rounding cannot hide."""

    dtype = torch.float64


class DoublePublished(fcr_published.FCRPublished):
    """The same of the published model."""

    dtype = torch.float64


@pytest.mark.parametrize(("kind", "module"), [(Double, fcr), (DoublePublished, fcr_published)])
def test_members_together_equal_each_alone(world, kind, module):
    rates = (1e-3, 3e-3)
    members = [member(world, params(module, learning_rate=r), i, f"r0.g{i}.s0") for i, r in enumerate(rates)]
    together = kind.fit_members(members)
    for one, found in zip(members, together, strict=True):
        (alone,) = kind.fit_members([one])
        for name, value in alone.model.state.items():
            np.testing.assert_allclose(found.model.state[name], value, rtol=1e-8, atol=1e-8, err_msg=name)
        np.testing.assert_allclose([v for *_, v in found.history], [v for *_, v in alone.history], rtol=1e-8)


def test_the_kept_start_validates_best(world):
    (found,) = fcr.FCR.fit_members([member(world, params(starts=3))])
    scores = [found.resolved[f"start_nelbo_{i}"] for i in range(3)]
    assert found.resolved["chosen_start"] == int(np.argmin(scores))
    assert len(set(scores)) == 3
    last = [v for _, name, v in found.history if name == "val_nelbo"][-1]
    assert last == pytest.approx(min(scores))


def test_partners_are_controls_of_the_same_context_and_part(world, monkeypatch):
    """Batches as the objective gets them; cells are told apart by their expression."""
    seen = []
    for name in ("loss", "validate"):
        original = getattr(FCRNetwork, name)

        def spy(self, stack, batch, *rest, original=original, name=name):
            seen.append((name, batch))
            return original(self, stack, batch, *rest)

        monkeypatch.setattr(FCRNetwork, name, spy)
    fitted(world, fcr_published.FCRPublished, fcr_published, epochs=2)
    center = prepared(world.train, 0)["center"][:, 0]
    owner = {}
    for part, cells in (("loss", world.train), ("validate", world.val)):
        expression = (log_normalised(cells) - center).astype(np.float32)
        controls, contexts = cells.obs["is_control"].to_numpy(), cells.obs["context"].cat.codes.to_numpy()
        owner[part] = {e.tobytes(): int(c) for e, c in zip(expression[controls], contexts[controls], strict=True)}
    drawn = set()
    for name, batch in seen:
        assert batch.has_partner.all()
        for k in range(len(batch)):
            partner = batch.partner[0, :, k].numpy().tobytes()
            assert owner[name][partner] == int(batch.contexts[0, k])
            drawn.add(partner)
    assert len(drawn) > 0.8 * len(owner["loss"])  # they are drawn anew


def test_blocks_are_named_in_order(world):
    assert fitted(world).blocks() == BLOCKS
    assert fcr.FCR(fcr.Params(), 10).blocks() == ("x",) * 3 + ("tx",) * 4 + ("t",) * 3
    assert fcr.FCR(fcr.Params(sizes=(1, 5, 2)), 8).blocks() == ("x",) + ("tx",) * 5 + ("t",) * 2


def test_latents_follow_cell_ids_whatever_the_order(world):
    order = np.random.default_rng(0).permutation(world.cells.n_obs)
    for kind, module in ((fcr.FCR, fcr), (fcr_authors.FCRAuthors, fcr_authors)):
        model = fitted(world, kind, module)
        z = pd.DataFrame(model.embed(world.cells), index=world.cells.obs_names)
        turned = io.subset(world.cells, order)
        np.testing.assert_allclose(model.embed(turned), z.loc[turned.obs_names], rtol=1e-4, atol=1e-5)


def test_authors_export_noise_of_their_sizes(world):
    model = fitted(world, fcr_authors.FCRAuthors, fcr_authors)
    many = ad.AnnData(np.zeros((5000, 1)), obs=pd.DataFrame(index=[f"c{i}" for i in range(5000)]))
    noise = model._export_noise(many)
    for column, block in enumerate(BLOCKS):
        assert stats.kstest(noise[:, column] / _fcr.EXPORTED[block], "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(noise.T) - np.eye(N_LATENTS)).max() < 5 / np.sqrt(many.n_obs)


def test_without_labels_in_the_posterior_there_are_no_companions(world):
    assert fitted(world).companions(world.val, np.random.default_rng(0)) == {}


def test_companions_say_what_labels_alone_give(world):
    model = fitted(world, fcr_published.FCRPublished, fcr_published)
    found = model.companions(world.val, np.random.default_rng(0))
    assert set(found) == {"prior_only", "shuffled_expression"}
    condition = world.val.obs.groupby(["context", "perturbation"], observed=True).ngroup().to_numpy()
    for own in np.unique(condition):
        assert np.ptp(found["prior_only"][condition == own], axis=0).max() == 0
    assert len(np.unique(found["prior_only"][:, 0])) == 3
    z = model.embed(world.val)
    assert not np.allclose(found["shuffled_expression"], z)
    permuted = world.val.copy()
    permuted.X = world.val.X[np.random.default_rng(0).permutation(world.val.n_obs)]
    np.testing.assert_array_equal(found["shuffled_expression"], model.embed(permuted))


def test_a_new_context_can_be_embedded_but_not_judged(world):
    model = fitted(world)
    new = world.val.copy()
    new.obs["context"] = "new"
    np.testing.assert_array_equal(model.embed(new), model.embed(world.val))
    with pytest.raises(ScidentError, match="new"):
        model.likelihood(new, np.random.default_rng(0))


def linear(world, epochs=8):
    """Return a model whose map is affine and decoder linear: means of latents give means of expression."""
    model = fitted(world, epochs=epochs, learning_rate=1e-2, family="full")
    model.state["decoder_out"][:] = 0
    model.state["posterior_out"][:] = 0
    return model


def loading_of(stack):
    """Return what a linear decoder multiplies latents by, [genes, latents]."""
    outputs = stack.b["spread"] * stack.p["decoder_skip.weight"]
    return (outputs @ torch.linalg.inv(stack.p["flow.linear"][:, 0]))[0].detach().double().numpy()


def test_iwelbo_of_many_samples_nears_the_exact_likelihood(world):
    """Without nonlinear parts and with one scale per gene the model is a Gaussian in y, condition by condition."""
    model = linear(world)
    # wide posteriors and noise, so that some samples are enough
    model.state["posterior_skip.weight"][N_LATENTS:], model.state["posterior_skip.bias"][N_LATENTS:] = 0, 0.5
    model.state["raw_scale"][:] = 1.0
    few = io.subset(world.val, np.arange(6))
    net, stack, _ = model.opened(few)
    found = model.likelihood(few, np.random.default_rng(0), 1500).iwelbo
    loading = loading_of(stack)
    offset = (stack.b["center"] + stack.b["spread"] * stack.p["decoder_skip.bias"])[0, :, 0].detach().double().numpy()
    offset = offset - loading @ stack.p["flow.offset"][0, 0, :, 0].detach().double().numpy()
    sd = stack.b["spread"] * (torch.nn.functional.softplus(stack.p["raw_scale"]) + 1e-3)
    noise = np.diag(sd[0, :, 0].detach().double().numpy() ** 2)
    for k in range(few.n_obs):
        codes = [few.obs[name].cat.codes.to_numpy(dtype=np.int64)[k] for name in ("context", "perturbation")]
        prior = net.prior(stack, *(torch.tensor([[code]]) for code in codes))
        mean, spread = (v[0, :, 0].detach().double().numpy() for v in (prior.mean, prior.log_sd.exp()))
        covariance = loading * spread**2 @ loading.T + noise
        exact = stats.multivariate_normal(loading @ mean + offset, covariance).logpdf(log_normalised(few)[k])
        assert found[k] == pytest.approx(exact, abs=0.15)


@pytest.fixture(scope="module")
def unseen_pair():
    """A world whose last pair of a context and a treatment was never trained on."""
    whole = place(cells=30)
    pair = ((whole.cells.obs["context"] == "x2") & (whole.cells.obs["perturbation"] == "t2")).to_numpy()
    held = whole.cells.obs_names[pair]
    train, val = (io.subset(part, ~part.obs_names.isin(held)) for part in (whole.train, whole.val))
    return train, val, io.subset(whole.cells, pair)


def test_an_unseen_pair_gets_the_additive_prior(unseen_pair):
    train, val, _ = unseen_pair
    one = Member("r0.g0.s0", train, val, params(epochs=8), N_LATENTS, np.random.SeedSequence(0))
    (found,) = fcr.FCR.fit_members([one])
    table = found.model.state["prior.tx"].reshape(3, 3, -1)
    # control, t1, t2 in columns: with one of nine missing, least squares gives row + column - grand as below
    known = np.ones((3, 3), dtype=bool)
    known[2, 2] = False
    design = np.hstack([np.repeat(np.eye(3), 3, axis=0), np.tile(np.eye(3), (3, 1))])
    effects = np.linalg.lstsq(design[known.ravel()], table.reshape(9, -1)[known.ravel()], rcond=None)[0]
    np.testing.assert_allclose(table[2, 2], design[8] @ effects, rtol=1e-4, atol=1e-5)


def request(world):
    seen = io.subset(world.cells, world.cells.obs_names.isin([*world.train.obs_names, *world.val.obs_names]))
    treated = world.cells.obs.loc[~world.cells.obs["is_control"], ["perturbation", "context"]]
    return Request(seen, world.val, treated.drop_duplicates().reset_index(drop=True))


@pytest.mark.parametrize(("kind", "module"), [(fcr.FCR, fcr), (fcr_published.FCRPublished, fcr_published)])
def test_predictions_have_three_kinds_per_condition(world, kind, module):
    asked = request(world)
    found = fitted(world, kind, module).predict(asked, np.random.default_rng(0))
    assert found.mean.shape == (len(found.obs), world.cells.n_vars) == (18, 12)
    assert np.isfinite(found.mean).all()
    for kind_name, rows in found.obs.groupby("kind"):
        assert kind_name in ("reconstruction", "counterfactual", "label_only")
        assert rows[["perturbation", "context"]].reset_index(drop=True).equals(asked.conditions)


def test_predictions_of_a_linear_decoder_are_decoded_means(world, monkeypatch):
    from scident.models import _fcr_predict

    monkeypatch.setattr(_fcr_predict, "LABEL_ONLY_DRAWS", 20_000)
    model, asked = linear(world), request(world)
    net, stack, _ = model.opened(asked.seen)
    found = model.predict(asked, np.random.default_rng(0))

    def decoded(z):
        return net.observation.expected(
            stack, net.decode(stack, net.map.inverse(stack, torch.as_tensor(z)[None, :, None].float()))
        )[0, :, 0]

    for (_, row), mean in zip(found.obs.iterrows(), found.mean, strict=True):
        codes = [world.cells.obs[name].cat.categories.get_loc(row[name]) for name in ("context", "perturbation")]
        prior = net.prior(stack, *(torch.tensor([[code]]) for code in codes))
        z, sd = (v[0, :, 0].detach().numpy() for v in (prior.mean, prior.log_sd.exp()))
        scored, seen = asked.scored.obs, asked.seen.obs
        own = (scored["context"] == row["context"]) & (scored["perturbation"] == row["perturbation"])
        controls = (seen["context"] == row["context"]) & seen["is_control"]
        n = {"reconstruction": own.sum(), "counterfactual": controls.sum(), "label_only": 20_000}[row["kind"]]
        if row["kind"] == "reconstruction":
            z = model.embed(io.subset(asked.scored, own.to_numpy())).mean(0)
        elif row["kind"] == "counterfactual":
            z[: SIZES[0]] = model.embed(io.subset(asked.seen, controls.to_numpy()))[:, : SIZES[0]].mean(0)
        error = 5 * np.sqrt(
            (loading_of(stack) ** 2) @ np.maximum(sd, 0.5) ** 2 / n
        )  # five standard errors of a mean of draws
        assert (np.abs(mean - decoded(z).detach().numpy()) < error).all(), row["kind"]


def test_only_reconstruction_reads_the_scored_cells(world):
    model, asked = fitted(world), request(world)
    other = world.val.copy()
    other.X = other.X + 1
    found = [
        model.predict(Request(asked.seen, scored, asked.conditions), np.random.default_rng(0))
        for scored in (asked.scored, other)
    ]
    changed = {
        kind: not np.array_equal(*(f.mean[(f.obs["kind"] == kind).to_numpy()] for f in found))
        for kind in found[0].obs["kind"].unique()
    }
    assert changed == {"reconstruction": True, "counterfactual": False, "label_only": False}


def test_conditions_without_seen_cells_get_what_can_be_said(world):
    model, asked = fitted(world), request(world)
    seen = io.subset(asked.seen, (asked.seen.obs["perturbation"] != "t2").to_numpy())
    no_control = io.subset(seen, (~(seen.obs["is_control"] & (seen.obs["context"] == "x1"))).to_numpy())
    found = model.predict(Request(no_control, asked.scored, asked.conditions), np.random.default_rng(0)).obs
    kinds = {key: set(rows) for key, rows in found.groupby(["perturbation", "context"], observed=True)["kind"]}
    assert kinds["t2", "x0"] == {"reconstruction"}
    assert kinds["t1", "x1"] == {"reconstruction", "label_only"}
    assert kinds["t1", "x0"] == {"reconstruction", "counterfactual", "label_only"}


def test_negative_binomial_needs_counts(world):
    with pytest.raises(ConfigError, match="needs counts"):
        fitted(world, likelihood="negative_binomial")


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="scale"):
        fcr.Params(likelihood="negative_binomial", scale="cell")
    with pytest.raises(ValueError, match="posterior"):
        fcr.Params(control_from_treated=True)
