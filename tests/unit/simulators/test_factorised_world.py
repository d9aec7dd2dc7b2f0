import numpy as np
import pytest
from pydantic import ValidationError

from scident import contracts, io
from scident.errors import ScidentError
from scident.simulators import factorised
from scident.simulators.factorised import Params, expected, simulate
from scident.stages.data import separate

SMALL = {"cells_per_condition": 4, "n_genes": 40}


def world_of(seed=0, **params):
    return simulate(Params(**SMALL | params), np.random.default_rng(seed))


def condition(adata):
    codes = adata.obs["perturbation"].cat.codes.to_numpy(), adata.obs["context"].cat.codes.to_numpy()
    return codes[0] * len(adata.obs["context"].cat.categories) + codes[1]


def test_defaults_are_those_of_the_specification():
    params = Params()
    assert params.sizes == (3, 4, 3)
    assert (params.n_contexts, params.n_treatments, params.cells_per_condition, params.n_genes) == (6, 5, 1200, 200)
    assert params.identified
    assert params.held_to_the_ceiling


def test_blocks_must_add_up():
    with pytest.raises(ValidationError, match=r"d_x \+ d_tx \+ d_t = 10, found 15"):
        Params(n_latents=15)


@pytest.mark.parametrize(
    "control", [{"interaction_strength": 0.0}, {"constant_scale": True}, {"n_contexts": 2, "n_treatments": 1}]
)
def test_worlds_without_identified_interaction_are_drawn_all_the_same(control):
    assert not Params(**control).identified
    assert 0.9 < world_of(**control).uns["world"]["ceiling"] <= 1


@pytest.mark.parametrize(("key", "value"), [("preset", "hard"), ("observation", "counts")])
def test_harder_worlds_are_held_to_their_tables_alone(key, value):
    params = Params(**{key: value})
    assert params.identified
    assert not params.held_to_the_ceiling


@pytest.mark.parametrize("observation", ["normal", "counts"])
def test_every_pair_has_its_cells_and_its_names(observation):
    adata = world_of(observation=observation, n_treatments=10, n_contexts=3)
    assert list(adata.obs["perturbation"].cat.categories) == ["control", *(f"t{k:02d}" for k in range(1, 11))]
    assert list(adata.obs["context"].cat.categories) == ["x0", "x1", "x2"]
    np.testing.assert_array_equal(np.bincount(condition(adata)), 4)
    np.testing.assert_array_equal(adata.obs["is_control"], adata.obs["perturbation"] == "control")
    assert (np.diff(condition(adata)) < 0).any()


@pytest.mark.parametrize("observation", ["normal", "counts"])
def test_world_keeps_its_contracts_and_survives_a_file(observation, tmp_path):
    adata = world_of(observation=observation, mix_block=True)
    observed, truth = separate(adata)
    contracts.check_data(observed)
    assert contracts.observation(observed) == observation
    assert not observed.obsm
    assert ("size_true" in truth.obsm) == (observation == "counts")
    io.write_h5ad(truth, tmp_path / "truth.h5ad")
    again = io.read_truth(tmp_path / "truth.h5ad")
    assert tuple(again.uns["blocks"]) == ("x",) * 3 + ("tx",) * 4 + ("t",) * 3
    world = again.uns["world"]
    np.testing.assert_array_equal(world["tables"]["c"], adata.uns["world"]["tables"]["c"])
    for found, wanted in zip(
        expected(world, again.obsm["z_true"]), expected(adata.uns["world"], adata.obsm["z_true"]), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_expression_is_drawn_around_its_mean():
    adata = world_of(cells_per_condition=50)
    residual = adata.X - expected(adata.uns["world"], adata.obsm["z_true"])[0]
    # 72,000 residuals of sd 0.1: 4 · 0.1/√(2n)
    assert residual.std() == pytest.approx(0.1, abs=0.0011)


def test_counts_are_drawn_around_the_mean_of_a_cell_of_its_size():
    adata = world_of(observation="counts", cells_per_condition=50)
    mean = expected(adata.uns["world"], adata.obsm["z_true"])[0] * adata.obsm["size_true"]
    residual = (adata.X - mean) ** 2 / (mean + mean**2 / 10)
    # 72,000 squared standardised residuals; their sd is about 2.5 where means are small: 4 standard errors
    assert residual.mean() == pytest.approx(1, abs=0.04)
    # log sizes of 1,800 cells are N(0, 0.3²): 4 standard errors of mean and sd
    log_size = np.log(adata.obsm["size_true"])
    assert log_size.mean() == pytest.approx(0, abs=0.029)
    assert log_size.std() == pytest.approx(0.3, abs=0.02)


def test_shuffled_treatments_move_labels_within_contexts_and_nothing_else():
    usual, shuffled = world_of(3), world_of(3, shuffle_treatments=True)
    np.testing.assert_array_equal(usual.X, shuffled.X)
    np.testing.assert_array_equal(usual.obsm["z_true"], shuffled.obsm["z_true"])
    np.testing.assert_array_equal(usual.obs["context"], shuffled.obs["context"])
    np.testing.assert_array_equal(np.bincount(condition(shuffled)), 4)
    moved = (usual.obs["perturbation"] != shuffled.obs["perturbation"]).mean()
    # a permuted label is its old self once in 6; 144 cells: sd 0.03
    assert moved == pytest.approx(5 / 6, abs=0.13)
    np.testing.assert_array_equal(shuffled.obs["is_control"], shuffled.obs["perturbation"] == "control")


def test_prior_is_the_tables_where_blocks_are_not_mixed():
    adata = world_of(n_contexts=4, n_treatments=3)
    world = adata.uns["world"]
    assert world["prior_mean"].shape == world["prior_sd"].shape == (4, 4, 10)
    np.testing.assert_array_equal(world["prior_mean"][2, 1, 3:7], world["tables"]["c"][1, 2])
    np.testing.assert_array_equal(world["prior_sd"][2, 1, 7:], world["tables"]["r"][2])


def test_prior_of_mixed_blocks_has_the_moments_of_the_latents():
    adata = world_of(mix_block=True, cells_per_condition=400, n_contexts=3, n_treatments=5, d_tx=2, n_latents=8)
    world, z, code = adata.uns["world"], adata.obsm["z_true"], condition(adata)
    for k in range(18):
        own = z[code == k]
        sd = world["prior_sd"].reshape(-1, 8)[k]
        # 400 cells against 4,000 draws: standard error 0.052 sd; 4.5 of them for the largest of 144
        np.testing.assert_allclose((own.mean(0) - world["prior_mean"].reshape(-1, 8)[k]) / sd, 0, atol=0.235)
        np.testing.assert_allclose(own.std(0) / sd, 1, atol=0.2)


def test_a_world_below_the_ceiling_is_drawn_again(monkeypatch):
    params, found = Params(**SMALL), iter([0.5, 0.96, 0.975])
    monkeypatch.setattr(factorised, "_ceiling", lambda *_: next(found))
    assert simulate(params, np.random.default_rng(0)).uns["world"]["ceiling"] == 0.975


def test_a_world_with_poor_tables_is_drawn_again(monkeypatch):
    found = iter([False, False, True])
    monkeypatch.setattr(factorised, "rich", lambda *_: next(found))
    world_of(preset="hard")
    assert next(found, None) is None


def test_a_search_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(factorised, "rich", lambda *_: False)
    with pytest.raises(ScidentError, match="none of 200"):
        world_of()


@pytest.mark.parametrize("params", [{}, {"observation": "counts", "mix_block": True}])
def test_the_same_seed_draws_the_same_world_and_another_another(params):
    one, again, other = (world_of(seed, **params) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.X, again.X)
    assert (one.X != other.X).any()
