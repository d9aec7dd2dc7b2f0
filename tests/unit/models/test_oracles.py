"""Controls that are given the truth of a world with blocks."""

from types import SimpleNamespace

import numpy as np
import pytest

from _tiny import world
from scident import io
from scident.errors import NotApplicable
from scident.models import oracle_noisy, oracle_truth, rotated_blocks, rotated_truth
from scident.simulators import factorised
from scident.stages.data import separate

BLOCKS = ("x",) * 3 + ("tx",) * 4 + ("t",) * 3
MODELS = {
    oracle_truth: "OracleTruth",
    oracle_noisy: "OracleNoisy",
    rotated_truth: "RotatedTruth",
    rotated_blocks: "RotatedBlocks",
}


def drawn(**params):
    """Return a world whose last pair of context and treatment was not trained on."""
    wanted = factorised.Params(**{"cells_per_condition": 10} | params)
    cells, truth = separate(factorised.simulate(wanted, np.random.default_rng(0)))
    unseen = ((cells.obs["context"] == "x5") & (cells.obs["perturbation"] == "t5")).to_numpy()
    return SimpleNamespace(train=io.subset(cells, ~unseen), cells=cells, truth=truth, unseen=unseen)


@pytest.fixture(scope="module")
def place():
    return drawn()


def fitted(module, place, seed=0):
    model = getattr(module, MODELS[module])(module.Params(), 10)
    model.fit(place.train, place.train, np.random.default_rng(seed))
    model.truth = place.truth
    return model


@pytest.mark.parametrize("module", [oracle_truth, oracle_noisy, rotated_blocks])
def test_blocks_are_the_true_ones(module, place):
    assert fitted(module, place).blocks() == BLOCKS


@pytest.mark.parametrize("module", [oracle_truth, oracle_noisy, rotated_truth])
def test_a_world_without_blocks_gives_none(module):
    assert fitted(module, world()).blocks() is None


def test_a_rotation_of_all_latents_leaves_no_blocks(place):
    assert fitted(rotated_truth, place).blocks() is None


@pytest.mark.parametrize("module", list(MODELS))
def test_a_world_without_shifts_gives_no_targets(module, place):
    assert fitted(module, place).targets() is None


def test_rotated_blocks_mixes_every_latent_with_its_own_block_alone(place):
    true = place.truth.obsm["z_true"].copy()
    z = fitted(rotated_blocks, place).embed(place.cells)
    np.testing.assert_array_equal(place.truth.obsm["z_true"], true)
    q, *_ = np.linalg.lstsq(true, z, rcond=None)
    np.testing.assert_allclose(q @ q.T, np.eye(10), atol=1e-9)
    same = np.equal.outer(BLOCKS, BLOCKS)
    np.testing.assert_allclose(q[~same], 0, atol=1e-9)
    assert (np.abs(q[same]) > 1e-6).all()


def test_rotated_blocks_leaves_a_block_of_one_latent_as_it_is(place):
    truth = place.truth[:, :].copy()
    truth.uns["blocks"] = np.array(["x"] + ["tx"] * 9)
    model = fitted(rotated_blocks, place)
    model.truth = truth
    z = model.embed(place.cells)
    np.testing.assert_array_equal(z[:, 0], truth.obsm["z_true"][:, 0])


def test_rotated_blocks_differs_between_seeds(place):
    one, again, other = (fitted(rotated_blocks, place, seed).embed(place.cells) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_rotated_blocks_does_not_apply_without_blocks():
    with pytest.raises(NotApplicable, match="no_blocks"):
        fitted(rotated_blocks, world()).embed(world().cells)


@pytest.mark.parametrize("observation", ["normal", "counts"])
def test_oracle_noisy_is_near_the_truth_and_not_at_it(observation):
    place = drawn(observation=observation)
    z, true = fitted(oracle_noisy, place).embed(place.cells), place.truth.obsm["z_true"]
    error = (z - true).std(axis=0) / true.std(axis=0)
    assert (error > 0.001).all()
    assert (error < 0.5).all()


def test_oracle_noisy_knows_the_sizes_of_the_cells():
    place = drawn(observation="counts")
    model = fitted(oracle_noisy, place)
    once = model.embed(place.cells)
    model.truth = place.truth.copy()
    model.truth.obsm["size_true"] = np.ones_like(place.truth.obsm["size_true"])
    true = place.truth.obsm["z_true"]
    assert np.abs(once - true).mean() < 0.9 * np.abs(model.embed(place.cells) - true).mean()


def test_oracle_noisy_takes_its_prior_from_trained_pairs_alone(place):
    model = fitted(oracle_noisy, place)
    assert model.state["pairs"].tolist() == [[t, x] for t in range(6) for x in range(6) if (t, x) != (5, 5)]
    once = model.embed(place.cells)

    def moved(t, x):
        model.truth = place.truth.copy()
        model.truth.uns = {**place.truth.uns, "world": dict(place.truth.uns["world"])}
        table = place.truth.uns["world"]["prior_mean"].copy()
        table[t, x] += 5
        model.truth.uns["world"]["prior_mean"] = table
        return model.embed(place.cells)

    np.testing.assert_array_equal(moved(5, 5), once)
    assert (moved(4, 5) != once).any()


def test_oracle_noisy_never_reads_the_label_of_a_cell(place):
    model = fitted(oracle_noisy, place)
    relabelled = place.cells.copy()
    for name in ("perturbation", "context"):
        relabelled.obs[name] = relabelled.obs[name].to_numpy()[::-1]
    np.testing.assert_array_equal(model.embed(relabelled), model.embed(place.cells))
