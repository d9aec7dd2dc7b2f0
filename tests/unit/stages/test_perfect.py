"""A perfect prediction scores perfect in every metric, whatever kind it is and however the counts are stored."""

import numpy as np
import pytest
from scipy import sparse

from _cells import mapped
from _jobs import job, plugin
from scident import io, registry
from scident.expression import normalised
from scident.stages import score, split
from scident.types import KINDS

PERFECT = {"response_r2": 1, "delta_r2": 1, "delta_pearson": 1, "pref_delta_pearson": 1, "nmse_corrected": 0}
ANSWER = (
    "import pandas as pd; from scident.expression import moments; from scident.types import KINDS; "
    'own = moments(request.scored, ~request.scored.obs["is_control"].to_numpy(), ["perturbation", "context"]); '
    "row = pd.MultiIndex.from_frame(own.obs).get_indexer(pd.MultiIndex.from_frame(request.conditions)); "
    "obs = pd.concat([request.conditions.assign(kind=kind) for kind in KINDS], ignore_index=True); "
    "mean, noise = (np.tile(part[row], (len(KINDS), 1)) for part in (own.mean, own.variance)); "
    "return Predictions(obs, mean, {noise})"
)
FORMS = {
    "dense": lambda x: x.astype(np.float32),
    "csr": lambda x: sparse.csr_matrix(x.astype(np.float32)),
    "uint16": lambda x: sparse.csr_matrix(x.astype(np.uint16)),
    "real numbers": lambda x: normalised(x.astype(np.float64)),
}


def make_screen(root, form, prepare):
    """Cells of a condition differ by their depth alone, so no mean moves by sampling; two pairs are held out."""
    for r in (0, 1):
        rng = np.random.default_rng(r)
        cells = mapped(labels=("control", "a", "b", "c"), per_label=240, contexts=("x", "y", "z"))
        base = rng.integers(1, 30, (3, 12))
        factor = np.vstack([np.ones(12, dtype=int), rng.integers(1, 4, (3, 12))])
        label = cells.obs["perturbation"].map({"control": 0, "a": 1, "b": 2, "c": 3}).to_numpy(dtype=int)
        depth = rng.integers(1, 4, (cells.n_obs, 1))
        cells.X = FORMS[form](base[cells.obs["context"].cat.codes] * factor[label] * depth)
        if form == "real numbers":
            cells.uns["observation"] = "normal"
        io.write_h5ad(cells, root / f"r{r}.h5ad")
    cut = {"dataset": "toy", "name": "unseen", "use": "unseen_pair", "protocol": "heldout", "replicates": [0, 1]}
    cut |= {"params": {"held_out": [["x", "a"], ["y", "b"]]}, "prepare": prepare}
    outputs = (root / name for name in ("parts.parquet", "train.h5ad", "parts.sha256"))
    split.run(cut, [root / "r0.h5ad", root / "r1.h5ad"], *outputs)


@pytest.mark.parametrize(
    ("form", "noise", "prepare"),
    [
        ("dense", "noise", {}),
        ("csr", "None", {"min_counts": 1, "top_genes": 7}),
        ("uint16", "noise", {}),
        ("real numbers", "None", {}),
    ],
)
def test_a_perfect_prediction_is_perfect(tmp_path, form, noise, prepare):
    make_screen(tmp_path, form, prepare)
    name = f"toy_perfect_{form.replace(' ', '_')}"
    path = plugin(tmp_path, name, gives=("predictions",), stochastic=False, predict=ANSWER.format(noise=noise))
    one = job(tmp_path, name, seeds=(0,), plugins=[path], predict=True)
    one.train()
    assert set(one.infer()["status"]) == {"ok"}
    spec = {key: one.spec[key] for key in ("dataset", "split", "model", "seeds", "plugins")}
    spec |= {"protocol": "heldout", "replicates": [0, 1], "grid_points": ["default"], "stochastic": False}
    spec |= {"label_conditioned": False, "adapts": False, "hash_config": "0" * 16, "hash_code": "0" * 16}
    reads = [m for m in registry.known("metrics") if "predictions" in registry.describe("metrics", m).needs]
    assert set(reads) == set(PERFECT)
    spec |= {"metrics": {m: {"use": m, "params": {"min_cells": 5}} for m in reads}}
    worlds = [tmp_path / "r0.h5ad", tmp_path / "r1.h5ad"]
    out = tmp_path / "scores.parquet"
    score.run(spec, [one.inferred], worlds, [], tmp_path / "parts.parquet", out, tmp_path / "aligned.parquet")
    found = io.read_table(out, "scores")
    found = found[found["scope"].isin(["iid", "ood"])]
    assert set(found["status"]) == {"ok"}
    assert {variant.partition(":")[0] for variant in found["variant"]} - {"de50"} == set(KINDS)
    np.testing.assert_allclose(found["value"], found["metric"].map(PERFECT).astype(float), atol=1e-9)
