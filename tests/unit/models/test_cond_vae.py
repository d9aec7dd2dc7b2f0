"""The conditional VAE: what it is told, what it predicts and what it refuses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from _cells import mapped
from _tiny import N_LATENTS, member, params_of
from scident import io
from scident.expression import log_normalised, moments
from scident.models import _cond_vae_predict, cond_vae
from scident.models._count_vae import CountVAENetwork
from scident.models._design import context_codes
from scident.types import Request

LABELS = ("control", "a", "b", "c", "a+b", "a+c")


class Place:
    """Counts of a screen: a, b and c raise genes 0, 1 and 2; no cell of `unseen` labels is trained on."""

    def __init__(self, unseen=(), contexts=("x", "y"), per_label=60):
        self.cells = mapped(labels=LABELS, per_label=per_label, genes=20, contexts=contexts)
        rate = np.full(self.cells.shape, 40.0)
        for gene, part in enumerate("abc"):
            own = self.cells.obs["perturbation"].astype(str).str.split("+").map(lambda parts, p=part: p in parts)
            rate[own.to_numpy(), gene] = 120.0
        self.cells.X = np.random.default_rng(0).poisson(rate).astype(np.float32)
        seen = ~self.cells.obs["perturbation"].isin(unseen).to_numpy()
        fifth = np.arange(self.cells.n_obs) // len(LABELS) % 5 == 0
        self.train, self.val = (io.subset(self.cells, seen & rows) for rows in (~fifth, fifth))

    def request(self, **changes):
        labels = self.cells.obs.loc[~self.cells.obs["is_control"], ["perturbation", "context"]].astype(str)
        conditions = labels.drop_duplicates().reset_index(drop=True)
        return replace(Request(self.train, self.val, conditions), **changes)


def fitted(place, **wanted):
    one = member(place, params_of("cond_vae", **wanted))
    (found,) = cond_vae.CondVAE.fit_members([one])
    assert found.model is not None, found.reason
    return found.model


def predicted(place, model, seed=0, **changes):
    """Return (perturbation, context, kind) -> mean expression."""
    found = model.predict(place.request(**changes), np.random.default_rng(seed))
    return dict(zip(found.obs.itertuples(index=False, name=None), found.mean, strict=True))


def test_encoder_and_decoder_read_dosages_and_contexts_beside_x_and_z():
    place = Place()
    network, stack, data = fitted(place)._network(place.cells)
    rows = np.array([np.flatnonzero(place.cells.obs["perturbation"] == name)[0] for name in LABELS])
    told = network.beside(stack, data.gather(torch.as_tensor(rows)[None]), torch.zeros(1, 0, len(rows)))[0].T.numpy()
    dosage = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1]]
    contexts = np.eye(2)[context_codes(place.cells[rows], ("x", "y"))]
    np.testing.assert_array_equal(told, np.hstack([dosage, contexts]))
    shapes = {name: tuple(value.shape) for name, value in network.parameters().items()}
    assert shapes["encoder.0.weight"] == (8, 20 + 5)
    assert shapes["decoder.0.weight"] == (8, N_LATENTS + 5)


def test_one_context_is_not_told():
    place = Place(contexts=("x",))
    network, _, _ = fitted(place)._network(place.cells)
    assert network.n_conditions == 3


def test_a_combination_of_trained_parts_is_known_and_one_with_a_new_part_is_not():
    place = Place(unseen=("a+b", "a+c", "c"))
    model = fitted(place)
    named = {name: place.cells[(place.cells.obs["perturbation"] == name).to_numpy()] for name in LABELS}
    known = {name: model.knows(io.subset(cells, np.arange(cells.n_obs))) for name, cells in named.items()}
    assert known == {"control": True, "a": True, "b": True, "a+b": True, "c": False, "a+c": False}
    assert not model.knows(place.cells)
    found = predicted(place, model)
    assert {key[0] for key in found} == {"a", "b", "a+b"}
    assert {key[2] for key in found} == {"counterfactual", "label_only"}
    elsewhere = place.cells.copy()
    elsewhere.obs["context"] = "z"
    assert not model.knows(io.subset(elsewhere, (elsewhere.obs["perturbation"] == "a").to_numpy()))


def test_a_context_without_controls_has_no_counterfactual_and_a_new_one_nothing():
    place = Place()
    model = fitted(place)
    without = ~(place.train.obs["is_control"] & (place.train.obs["context"] == "x")).to_numpy()
    found = predicted(place, model, seen=io.subset(place.train, without))
    assert {key[2] for key in found if key[1] == "x"} == {"label_only"}
    assert {key[2] for key in found if key[1] == "y"} == {"counterfactual", "label_only"}
    new = pd.DataFrame({"perturbation": ["a"], "context": ["z"]})
    assert predicted(place, model, conditions=new) == {}


def test_means_are_of_drawn_counts_and_their_variance_is_that_of_the_draws(monkeypatch):
    """Other draws scatter about the mean of many by the standard error that is given with them."""
    place = Place(contexts=("x",))
    model = fitted(place)
    asked = place.request(conditions=pd.DataFrame({"perturbation": ["a"], "context": ["x"]}))
    few = [model.predict(asked, np.random.default_rng(seed)) for seed in range(12)]
    monkeypatch.setattr(_cond_vae_predict, "DRAWS", 20_000)
    many = model.predict(asked, np.random.default_rng(99))
    z = np.array([(one.mean - many.mean) / np.sqrt(one.variance) for one in few])
    assert z.std() == pytest.approx(1.0, abs=0.15)  # 12 × 2 × 20 numbers: relative error 3 %
    assert many.variance.mean() == pytest.approx(few[0].variance.mean() * 500 / 20_000, rel=0.1)


def test_what_single_perturbations_do_carries_over_to_a_combination_never_seen():
    """Perturbations a and b raise genes 0 and 1; trained on both alone, so does what is said of a+b."""
    place = Place(unseen=("a+b",), contexts=("x",))
    model = fitted(place, epochs=20, warmup_epochs=10, batch_size=16, width=32, learning_rate=1e-2, dropout=0)
    found = predicted(place, model)
    means = moments(place.cells, np.ones(place.cells.n_obs, dtype=bool), ["perturbation"])
    true = dict(zip(means.obs["perturbation"], means.mean, strict=True))
    change = true["a+b"] - true["control"]
    assert (change[:2] > 0.5).all()
    for kind in ("counterfactual", "label_only"):
        said = found["a+b", "x", kind] - true["control"]
        assert np.linalg.norm(said - change) < 0.6 * np.linalg.norm(change)


def test_real_numbers_are_predicted_as_they_are():
    place = Place()
    for cells in (place.cells, place.train, place.val):
        cells.X = log_normalised(cells).astype(np.float32)
        cells.uns["observation"] = "normal"
    found = predicted(place, fitted(place))
    assert all(np.isfinite(mean).all() for mean in found.values())


def test_the_plain_count_vae_reads_nothing_beside_x_and_z():
    place = Place()
    _, stack, data = fitted(place)._network(place.cells)
    network, h = CountVAENetwork(params_of("vae"), 20, 3, 6), torch.zeros(1, 3, 5)
    assert network.n_conditions == 0
    assert network.beside(stack, data.gather(torch.arange(5)[None]), h) is h
