"""Criteria of grid points: computed from training and validation cells, by hand where they can be."""

import dataclasses

import numpy as np
import pytest

import _tiny
from scident.models.base import Fitted, Model
from scident.params import PluginParams
from scident.stages import _choose
from scident.types import Likelihood

SPEC = {"dataset": "toy", "split": "unseen", "model": "toy", "grid": {"a": {}, "b": {}}}
POINT = (0, "a")


class Params(PluginParams):
    retrain_epochs: int | None = None


class Turned(Model):
    """Log counts of the first genes in some order; its bound is minus the distance of codes to the fitted ones."""

    def __init__(self, order=(0, 1, 2), fitted_to=()):
        super().__init__(Params(), 3)
        self.order, self.fitted_to = list(order), set(fitted_to)

    def fit(self, train, val, rng):
        raise AssertionError

    def embed(self, cells):
        return np.log1p(cells.X[:, self.order].astype(float))

    def adapt(self, cells, rng, published=False):
        return Turned(self.order, cells.obs["perturbation"].astype(str))

    def likelihood(self, cells, rng, samples=0):
        known = cells.obs["perturbation"].isin(self.fitted_to).to_numpy()
        assert samples == _choose.SAMPLES
        return Likelihood(np.zeros(len(known)), np.where(known, -1.0, -100.0))


@pytest.fixture(scope="module")
def place():
    return _tiny.world(perturbations=31, cells=20, heldout=1)


def member(place, name="r0.g0.s0", key="k"):
    return _tiny.member(place, Params(), name=name, key=key)


def extras(place, **spec):
    return _choose.extras(SPEC | spec, {POINT: member(place), (0, "b"): member(place, key="other")})


def test_extra_members_lack_a_tenth_of_the_training_perturbations(place):
    for one in extras(place):
        seen = set(place.train.obs["perturbation"])
        left = set(one.member.train.obs["perturbation"])
        held = seen - left
        assert len(held) == round(0.1 * len(seen)) == 3
        assert set(one.member.val.obs["perturbation"]).isdisjoint(held)
        assert set(one.fit.obs["perturbation"]) | set(one.score.obs["perturbation"]) == held
        assert set(one.fit.obs_names).isdisjoint(one.score.obs_names)
        everything = [*one.member.train.obs_names, *one.fit.obs_names, *one.score.obs_names]
        assert sorted(everything) == sorted(place.train.obs_names)
        assert list(one.member.train.obs["perturbation"].cat.categories) == list(
            place.train.obs["perturbation"].cat.categories
        )


def test_all_models_and_grid_points_lack_the_same_perturbations(place):
    found = [*extras(place), *extras(place, model="another")]
    assert len({tuple(one.fit.obs_names) for one in found}) == 1
    assert len({one.member.key for one in found}) == 2
    entropies = {str(one.member.seed.entropy) for one in found}
    assert len(entropies) == 4  # but each draws its own random numbers


def test_another_split_or_replicate_lacks_others(place):
    found = {tuple(one.fit.obs_names) for name in ("one", "two", "three") for one in extras(place, split=name)}
    assert len(found) > 1


def test_controls_are_never_held_out(place):
    train = place.train.copy()
    first = train.obs["perturbation"].cat.categories[:28]
    train.obs["is_control"] = train.obs["perturbation"].isin(first).to_numpy()
    world = dataclasses.replace(place, train=train)
    # one tenth of two treated perturbations: too few to say anything
    assert _choose.extras(SPEC, {POINT: member(world)}) == []


def runs(place, *models, history=()):
    return [(member(place, f"r0.g0.s{i}"), Fitted(m, history=list(history))) for i, m in enumerate(models)]


def test_stability_is_one_for_permuted_latents_and_less_for_others(place):
    same = _choose.criteria({POINT: runs(place, Turned(), Turned((2, 0, 1)))}, [])
    assert same[POINT]["stability"] == pytest.approx(1.0)
    other = _choose.criteria({POINT: runs(place, Turned(), Turned((3, 4, 5)))}, [])
    assert other[POINT]["stability"] < 0.9


def test_one_seed_has_no_stability_and_a_failed_seed_no_nelbo(place):
    curve = [(0, "val_nelbo", 9.0), (1, "val_kl", 7.0), (1, "val_nelbo", 4.0)]
    found = _choose.criteria({POINT: runs(place, Turned(), history=curve)}, [])
    assert found[POINT] == {"val_nelbo": 4.0}
    found = _choose.criteria({POINT: runs(place, Turned(), None, history=curve)}, [])
    assert found[POINT] == {}


def test_held_out_validation_scores_after_fitting_on_the_other_half(place):
    (one, _) = extras(place)
    found = _choose.criteria({POINT: runs(place, Turned())}, [(one, Fitted(Turned()))])
    assert found[POINT]["heldout_validation"] == -1.0


def test_a_perturbation_counts_once_however_many_cells_it_has(place):
    (one, _) = extras(place)
    codes = one.score.obs["perturbation"].cat.codes.to_numpy(dtype=float)

    class Uneven(Turned):
        def adapt(self, cells, rng, published=False):
            return self

        def likelihood(self, cells, rng, samples=0):
            return Likelihood(codes, codes)

    found = _choose.criteria({POINT: runs(place, Turned())}, [(one, Fitted(Uneven()))])
    assert found[POINT]["heldout_validation"] == pytest.approx(np.unique(codes).mean())


def test_a_failed_extra_member_gives_no_criterion(place):
    (one, _) = extras(place)
    found = _choose.criteria({POINT: runs(place, Turned())}, [(one, Fitted(None, "nonfinite_loss"))])
    assert found == {POINT: {}}


def test_a_grid_point_without_a_member_has_no_criterion(place):
    (one, _) = extras(place)
    assert _choose.criteria({POINT: runs(place, None)}, [(one, Fitted(Turned()))]) == {POINT: {}}
