import numpy as np
import pytest

from scident.simulators import _mixing
from scident.simulators._mixing import draw_expression, draw_mixing, expected, mix_blocks, variance


def world_of(observation="normal", *, preset="mild", mix_block=False, genes=30, seed=0):
    return draw_mixing(preset, observation, (3, 4, 3), genes, mix_block, np.random.default_rng(seed))


def latents(cells, seed=1):
    return np.random.default_rng(seed).standard_normal((cells, 10))


@pytest.mark.parametrize(
    ("preset", "observation", "clip", "slope"),
    [
        ("mild", "normal", (0.7, 1.4), 0.4),
        ("hard", "normal", (0.5, 2.0), 0.2),
        ("mild", "counts", (0.8, 1.25), 0.5),
        ("hard", "counts", (0.5, 2.0), 0.2),
    ],
)
def test_presets_bound_the_gain_of_every_layer(preset, observation, clip, slope):
    world = world_of(observation, preset=preset)
    assert world["slope"] == slope
    for i in range(3):
        spectrum = np.linalg.svd(world[f"W{i}"], compute_uv=False)
        assert clip[0] * (1 - 1e-9) <= spectrum.min() < spectrum.max() <= clip[1] * (1 + 1e-9)


def test_expected_is_three_layers_and_a_readout():
    world, z = world_of(), latents(5)
    hidden = z
    for i in range(2):
        hidden = hidden @ world[f"W{i}"]
        hidden = np.where(hidden > 0, hidden, 0.4 * hidden)
    np.testing.assert_allclose(expected(world, z)[0], hidden @ world["W2"] @ world["B"])


def test_expected_counts_share_the_depth_by_a_softmax():
    world, z = world_of("counts"), latents(5)
    out = np.exp(expected({**world, "noise": "normal"}, z)[0])
    np.testing.assert_allclose(expected(world, z)[0], 5000 * out / out.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("observation", ["normal", "counts"])
def test_jacobian_equals_central_differences(observation):
    world, z = world_of(observation), latents(6)
    _, jacobian = expected(world, z)
    assert jacobian.shape == (6, 30, 10)
    for j, step in enumerate(1e-6 * np.eye(10)):
        slope = (expected(world, z + step)[0] - expected(world, z - step)[0]) / 2e-6
        # truncation of the softmax, about step² · third derivative, and rounding 1e-16 · 1,000 / 1e-6
        np.testing.assert_allclose(jacobian[:, :, j], slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("observation", ["normal", "counts"])
def test_expected_is_the_same_in_chunks(observation, monkeypatch):
    world, z = world_of(observation), latents(20)
    whole = expected(world, z)
    monkeypatch.setattr(_mixing, "CHUNK", 7)
    for one, other in zip(whole, expected(world, z), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("observation", ["normal", "counts"])
def test_expression_has_the_stated_mean_and_variance(observation):
    world = world_of(observation)
    z, size = np.repeat(latents(1), 20_000, axis=0), np.full((20_000, 1), 1.5)
    x = draw_expression(world, z, size, np.random.default_rng(2)).astype(np.float64)
    factor = 1.5 if observation == "counts" else 1.0
    mean = factor * expected(world, z[:1])[0]
    spread = variance(world, mean)
    # 30 genes: 4.2 standard errors of a mean; of a variance √(2/n) if normal, and no more than 2.5 times that here
    np.testing.assert_allclose((x.mean(0) - mean[0]) / np.sqrt(spread[0] / 20_000), 0, atol=4.2)
    np.testing.assert_allclose(x.var(0), spread[0], rtol=4.2 * np.sqrt(2 / 20_000) * (2.5 if factor > 1 else 1))


def test_noise_of_real_numbers_ignores_the_size_of_a_cell():
    world, z = world_of(), latents(50)
    small, large = (draw_expression(world, z, np.full((50, 1), s), np.random.default_rng(3)) for s in (1.0, 9.0))
    np.testing.assert_array_equal(small, large)


def test_mix_blocks_leaves_sources_alone_unless_asked():
    z = latents(4)
    np.testing.assert_array_equal(mix_blocks(world_of(), z), z)


def test_mix_blocks_mixes_inside_the_outer_blocks_alone():
    world, sources = world_of(mix_block=True), latents(50)
    before = sources.copy()
    z = mix_blocks(world, sources)
    np.testing.assert_array_equal(sources, before)
    np.testing.assert_array_equal(z[:, 3:7], sources[:, 3:7])
    for inside in (slice(0, 3), slice(7, 10)):
        moved = sources.copy()
        moved[:, inside] = 0
        changed = (mix_blocks(world, moved) != z).any(axis=0)
        np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(10)[inside])


@pytest.mark.parametrize("block", ["x", "t"])
def test_mix_blocks_can_be_undone(block):
    world, sources = world_of(mix_block=True), latents(50)
    inside = slice(0, 3) if block == "x" else slice(7, 10)
    hidden = mix_blocks(world, sources)[:, inside] @ np.linalg.inv(world[f"M1_{block}"])
    hidden = np.where(hidden > 0, hidden, hidden / world["slope"])
    np.testing.assert_allclose(hidden @ np.linalg.inv(world[f"M0_{block}"]), sources[:, inside])
