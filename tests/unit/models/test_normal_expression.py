"""The count VAE on real numbers: what it reads, what its bounds are, and a linear Gaussian world that it finds."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from _tiny import N_LATENTS, World, member, params_of
from scident import io
from scident.engine.layers import BATCH_NORM_EPS
from scident.models import ivae_fixed, svae_plus, vae
from scident.models._count_vae import SMALLEST_VARIANCE

MODELS = {"vae": vae.VAE, "ivae_fixed": ivae_fixed.FixedIVAE, "svae_plus": svae_plus.SVAEPlus}
GENES, SD = 8, 0.5


def linear(seed=0, cells=600):
    """Return y = B z + 0.5 ε of standard normal z and ε, and the covariance of y; a fifth of the cells validate."""
    rng = np.random.default_rng(seed)
    loadings = rng.standard_normal((GENES, N_LATENTS))
    x = rng.standard_normal((cells, N_LATENTS)) @ loadings.T + SD * rng.standard_normal((cells, GENES))
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(np.resize(["control", "p1", "p2"], cells)),
            "is_control": np.resize([True, False, False], cells),
            "context": "all",
        },
        index=[f"c{i}" for i in range(cells)],
    )
    observed = ad.AnnData(x.astype(np.float32), obs=obs, uns={"observation": "normal"})
    turn = np.arange(cells) // 3 % 5
    train, val = io.subset(observed, turn > 1), io.subset(observed, turn == 1)
    return World(train, val, io.subset(observed, turn == 0), None), loadings @ loadings.T + SD**2 * np.eye(GENES)


@pytest.fixture(scope="module")
def place():
    return linear()[0]


def fitted(place, use="vae", **params):
    (found,) = MODELS[use].fit_members([member(place, params_of(use, **params))])
    assert found.reason == ""
    return found


def test_the_encoder_reads_the_numbers_themselves(place):
    model = fitted(place, epochs=0, layers=1).model
    s = {name: value.astype(np.float64) for name, value in model.state.items()}
    hidden = place.cells.X @ s["encoder.0.weight"].T + s["encoder.0.bias"].T
    hidden = np.maximum(hidden / np.sqrt(1 + BATCH_NORM_EPS), 0)  # running statistics of the start: mean 0, variance 1
    expected = hidden @ s["mean.weight"].T + s["mean.bias"].T
    np.testing.assert_allclose(model.embed(place.cells), expected, rtol=1e-4, atol=1e-5)


def test_bounds_are_the_density_itself_where_the_latents_say_nothing(place):
    model = fitted(place, epochs=0).model
    state = model.state
    for name in ("logits.weight", "mean.weight", "mean.bias", "log_variance.weight"):
        state[name] = np.zeros_like(state[name])
    state["log_variance.bias"] = np.full_like(state["log_variance.bias"], np.log(1 - SMALLEST_VARIANCE))
    state["log_sd"] = np.linspace(-1, 1, GENES, dtype=np.float32)[:, None]
    found = model.likelihood(place.cells, np.random.default_rng(0), samples=5)
    center, sd = state["logits.bias"][:, 0].astype(np.float64), np.exp(state["log_sd"][:, 0].astype(np.float64))
    density = stats.norm.logpdf(place.cells.X, center, sd).sum(1)
    np.testing.assert_allclose(found.nelbo, -density, rtol=1e-5)
    np.testing.assert_allclose(found.iwelbo, density, rtol=1e-5)


def test_training_finds_a_linear_gaussian_world():
    place, covariance = linear()
    found = fitted(place, epochs=150, width=16, layers=1, learning_rate=2e-2, dropout=0, warmup_epochs=0)
    x, seen = np.asarray(place.cells.X, dtype=np.float64), np.asarray(place.train.X, dtype=np.float64)
    true = -stats.multivariate_normal(np.zeros(GENES), covariance).logpdf(x)
    apart = -stats.norm.logpdf(x, seen.mean(0), seen.std(0)).sum(1)
    nelbo = found.model.likelihood(place.cells, np.random.default_rng(0)).nelbo
    # a bound cannot beat the truth by more than chance does: 4 standard errors over 120 cells
    gap = nelbo - true
    assert gap.mean() > -4 * gap.std() / np.sqrt(len(gap))
    # most of what ties the genes together is found
    assert nelbo.mean() < true.mean() + 0.3 * (apart - true).mean()
    sd = np.exp(found.model.state["log_sd"][:, 0])
    assert np.median(sd) == pytest.approx(SD, rel=0.25)


@pytest.mark.parametrize("use", MODELS)
def test_the_whole_family_trains_on_real_numbers(place, use):
    found = fitted(place, use)
    assert "log_sd" in found.model.state
    assert "log_dispersion" not in found.model.state
    assert np.isfinite([value for _, name, value in found.history if name == "val_nelbo"]).all()
    assert np.isfinite(found.model.likelihood(place.cells, np.random.default_rng(0)).nelbo).all()
