"""Train and infer jobs on a small world, as the workflow would start them."""

import sys
from dataclasses import dataclass
from pathlib import Path

from _cells import mapped
from scident import io
from scident.stages import data, infer, split, train

PLUGIN = '''"""A model for tests."""

import numpy as np

from scident.errors import NotApplicable
from scident.info import ModelInfo
from scident.models.base import Model
from scident.params import PluginParams
from scident.types import Likelihood, Predictions

info = ModelInfo(label="Toy", source="this test", role={role!r}, gives={gives!r}, stochastic={stochastic})


class Params(PluginParams):
    """One number."""

    size: float = 1.0


class Toy(Model):
    """Log counts of the first genes, scaled."""

    def fit(self, train, val, rng):
        {fit}
        self.state = {{"size": np.array(self.params.size), "noise": rng.standard_normal(3)}}

    def embed(self, cells):
        {embed}
        return np.log1p(cells.X[:, : self.n_latents].astype(float)) * self.state["size"]

    def likelihood(self, cells, rng, samples=0):
        """The codes of the labels, for tests of what a model is shown."""
        codes = cells.obs["perturbation"].cat.codes.to_numpy(dtype=float)
        return Likelihood(codes, codes + samples if samples else None)

    def companions(self, cells, rng):
        """Other latents, if a test asks for some."""
        {companions}
        return {{}}

    def predict(self, request, rng):
        """The same mean for every condition."""
        {predict}
        mean = np.full((len(request.conditions), request.seen.n_vars), self.params.size)
        return Predictions(request.conditions.assign(kind="counterfactual"), mean)
'''


@dataclass
class Job:
    """Files of one dataset × split, and what the jobs of one model are told."""

    root: Path
    spec: dict

    @property
    def trained(self):
        return self.root / "train"

    @property
    def inferred(self):
        return self.root / "infer"

    def train(self, **more):
        train.run(self.spec, self.root / "train.h5ad", self.trained, **more)
        return io.read_table(self.trained / "members.parquet", "members")

    def infer(self, truth=False):
        worlds = [self.root / f"r{r}.h5ad" for r in (0, 1)]
        true = [self.root / f"r{r}.truth.h5ad" for r in (0, 1)] if truth else []
        infer.run(self.spec, self.trained, worlds, true, self.root / "parts.parquet", self.inferred)
        return io.read_table(self.inferred / "members.parquet", "members")

    def status(self, stage):
        return io.read_json(self.root / stage / "status.json")


def make_data(root):
    """Two replicates of six perturbations, the last held out."""
    size = {"n_perturbations": 6, "cells_per_perturbation": 25, "n_genes": 12, "n_latents": 3, "n_hidden": 10}
    spec = {"name": "toy", "kind": "simulators", "use": "sparse_shift", "params": size | {"variant": "corrected"}}
    for r in (0, 1):
        data.run(spec, r, root / f"r{r}.h5ad", root / f"r{r}.truth.h5ad", root)
    cut = {"dataset": "toy", "name": "unseen", "use": "unseen_perturbation", "protocol": "heldout"}
    cut |= {"params": {"last_n": 1}, "replicates": [0, 1]}
    split.run(
        cut,
        [root / "r0.h5ad", root / "r1.h5ad"],
        root / "parts.parquet",
        root / "train.h5ad",
        root / "parts.sha256",
    )


def make_pairs(root):
    """Two replicates of three perturbations and a control in three contexts, two pairs held out."""
    for r in (0, 1):
        cells = mapped(labels=("control", "a", "b", "c"), per_label=240, contexts=("x", "y", "z"), seed=r)
        io.write_h5ad(cells, root / f"r{r}.h5ad")
    cut = {"dataset": "toy", "name": "unseen", "use": "unseen_pair", "protocol": "heldout", "replicates": [0, 1]}
    cut |= {"params": {"held_out": [["x", "a"], ["y", "b"]]}}
    outputs = (root / name for name in ("parts.parquet", "train.h5ad", "parts.sha256"))
    split.run(cut, [root / "r0.h5ad", root / "r1.h5ad"], *outputs)


def job(root, use, *, grid=None, seeds=(0, 1), fitted_seeds=None, plugins=(), name=None, predict=False):
    """Return a job of both replicates, all grid points and seeds."""
    grid = grid or {"default": {}}
    fitted = seeds if fitted_seeds is None else fitted_seeds
    members = [[r, g, s] for r in (0, 1) for g in range(len(grid)) for s in fitted]
    spec = {"dataset": "toy", "split": "unseen", "model": name or use, "use": use, "grid": grid, "n_latents": 3}
    spec |= {"members": members, "seeds": list(seeds), "plugins": [str(p) for p in plugins]}
    spec |= {"published": False, "selection": "val_nelbo", "iwelbo_samples": 0, "predict": predict}
    return Job(root, spec | {"hash_code": "0" * 16})


def plugin(folder, name, *, role="method", gives=("latents",), stochastic=True, **code):
    """Write a plug-in file, in place of whatever an earlier test of this process called so.

    `code` is what `fit`, `embed`, `companions` or `predict` do first.
    """
    path = folder / f"{name}.py"
    sys.modules.pop(f"scident_plugin_models_{name}", None)  # a module is imported once
    body = {"fit": "pass", "embed": "pass", "companions": "pass", "predict": "pass"} | code
    path.write_text(PLUGIN.format(role=role, gives=tuple(gives), stochastic=stochastic, **body))
    return path
