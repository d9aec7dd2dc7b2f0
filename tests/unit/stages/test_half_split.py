"""The anchors of predictions, from files to scores: no change scores 1, the other half 0, whatever the counts are."""

import numpy as np
import pytest

from _cells import mapped
from _jobs import job, plugin
from scident import io, registry
from scident.expression import log_normalised
from scident.stages import score, split

LABELS = tuple(f"p{k:02d}" for k in range(24))
METRICS = ("nmse_corrected", "delta_pearson", "pref_delta_pearson", "delta_r2", "response_r2")


def make_screen(root, protocol="heldout"):
    """Two replicates of 24 perturbations that move a few genes each, half of them held out."""
    for replicate in (0, 1):
        rng = np.random.default_rng(replicate)
        cells = mapped(labels=("control", *LABELS), per_label=140, genes=40, seed=replicate)
        for code in range(len(LABELS)):
            own = (cells.obs["perturbation"] == LABELS[code]).to_numpy()
            genes = rng.choice(40, 5, replace=False)
            cells.X[np.ix_(own, genes)] = rng.poisson(rng.choice([1.5, 6.0], 5), (own.sum(), 5))
        io.write_h5ad(cells, root / f"r{replicate}.h5ad")
    cut = {"dataset": "toy", "name": "unseen", "use": "unseen_perturbation", "protocol": protocol}
    cut |= {"params": {"last_n": 12}, "replicates": [0, 1]}
    outputs = (root / name for name in ("parts.parquet", "train.h5ad", "parts.sha256"))
    split.run(cut, [root / "r0.h5ad", root / "r1.h5ad"], *outputs)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    make_screen(folder)
    return folder


def whole(root, use, metrics=METRICS, min_cells=10):
    """Return (scope, metric) -> (value, se) of both replicates, plain variant."""
    one = job(root, use, seeds=(0,), predict=True)
    one.spec["members"] = [[0, 0, 0], [1, 0, 0]]
    one.train()
    assert set(one.infer()["status"]) == {"ok"}
    info = registry.describe("models", use)
    spec = {name: one.spec[name] for name in ("dataset", "split", "model", "seeds", "plugins")}
    spec |= {"protocol": "heldout", "replicates": [0, 1], "grid_points": ["default"], "stochastic": info.stochastic}
    spec |= {"label_conditioned": False, "adapts": False, "hash_config": "0" * 16, "hash_code": "0" * 16}
    spec |= {"metrics": {m: {"use": m, "params": {"min_cells": min_cells}} for m in metrics}}
    out = root / "scores.parquet"
    worlds = [root / "r0.h5ad", root / "r1.h5ad"]
    score.run(spec, [one.inferred], worlds, [], root / "parts.parquet", out, root / "aligned.parquet")
    found = io.read_table(out, "scores")
    found = found[found["perturbation"].isna() & (found["variant"] == "")]
    return {
        key: rows[["value", "se"]].to_numpy() for key, rows in found.groupby(["scope", "metric"]) if key[0] != "val"
    }


def test_no_change_scores_one_and_has_no_direction(screen):
    found = whole(screen, "no_change")
    for scope in ("iid", "ood"):
        np.testing.assert_allclose(found[scope, "nmse_corrected"][:, 0], 1.0, rtol=1e-9)
        assert (found[scope, "delta_pearson"][:, 0] == 0).all()
        assert (found[scope, "delta_r2"][:, 0] <= 0).all()


def test_the_half_split_scores_zero_within_standard_errors_and_near_the_best_elsewhere(screen):
    found = whole(screen, "half_split")
    for scope in ("iid", "ood"):
        values, errors = found[scope, "nmse_corrected"].T
        assert (np.abs(values) < 4 * errors).all()
        assert (errors < 0.25).all()
    for metric in ("delta_pearson", "pref_delta_pearson"):
        assert (found["ood", metric][:, 0] > 0.8).all()


def test_the_training_mean_misses_what_is_specific_to_perturbations(screen):
    assert (whole(screen, "training_mean")["ood", "nmse_corrected"][:, 0] > 0.5).all()


def test_the_half_split_is_the_mean_of_cells_that_are_neither_trained_on_nor_scored(screen):
    one = job(screen, "half_split", fitted_seeds=(0,), predict=True)
    one.train()
    one.infer()
    found, _ = io.read_predictions(one.inferred / "r1.g0.s0" / "predictions.h5ad")
    parts = io.read_table(screen / "parts.parquet", "parts").query("replicate == 1").set_index("cell_id")["part"]
    cells = io.read_data(screen / "r1.h5ad")
    x, part = log_normalised(cells), parts.reindex(cells.obs_names).to_numpy()
    assert len(found.obs) == 24
    for label, name in (("p03", "fit"), ("p20", "heldout_fit")):
        own = x[(cells.obs["perturbation"] == label).to_numpy() & (part == name)]
        row = found.obs.index[found.obs["perturbation"] == label][0]
        np.testing.assert_allclose(found.mean[row], own.mean(0))
        np.testing.assert_allclose(found.variance[row], own.var(0, ddof=1) / len(own))


def test_without_a_half_that_is_not_scored_it_does_not_apply(tmp_path):
    make_screen(tmp_path, "released")
    one = job(tmp_path, "half_split", fitted_seeds=(0,), predict=True)
    one.train()
    members = one.infer()
    assert set(zip(members["status"], members["reason"], strict=True)) == {("not_applicable", "no_other_half")}


def test_nobody_else_is_given_the_other_half(screen, tmp_path):
    path = plugin(tmp_path, "toy_half", gives=("predictions",), predict="assert self.other_half is None")
    one = job(screen, "toy_half", plugins=[path], predict=True)
    one.train()
    assert set(one.infer()["status"]) == {"ok"}
