"""A small run on disk as the infer stage leaves it: two replicates, two seeds, one grid point, linear members."""

from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from _worlds import labels, sparse_targets
from scident import io, registry

METRICS = (
    *("mcc_pearson", "mcc_spearman", "mcc_within", "r2_linear"),
    *("target_auprc", "target_f1", "target_precision", "target_recall"),
    *("nelbo", "iwelbo", "seed_mcc", "seed_target_jaccard", "probe_z_perturbation"),
)
PARTS = {"heldout": ("train", "train", "val", "fit", "fit", "score", "score"), "released": ("train",) * 6 + ("val",)}


@dataclass
class Run:
    """Where the files of a run lie, and what the score stage is told."""

    root: Path
    spec: dict
    infer: list[Path]
    data: list[Path]
    truth: list[Path]

    @property
    def out(self):
        return self.root / "score/world/unseen/toy.parquet"

    def score(self, **changes):
        from scident.stages import score

        aligned = self.out.with_suffix(".aligned.parquet")
        parts = self.root / "split/world/unseen/parts.parquet"
        score.run(self.spec | changes, self.infer, self.data, self.truth, parts, self.out, aligned)
        return io.read_table(self.out, "scores"), io.read_table(aligned, "aligned")

    def folder(self, replicate, seed):
        return self.infer[0] / f"r{replicate}.g0.s{seed}"


def make(root, *, protocol="heldout", heldout=2, with_truth=True, n_perts=8, n_factors=3, cells=1120):
    run = Run(root, _spec(protocol), [root / "infer/world/unseen/toy/s0"], [], [])
    parts = []
    for replicate in run.spec["replicates"]:
        rng = np.random.default_rng(replicate)
        obs, names, code = labels(cells, n_perts)
        truth = sparse_targets(n_perts, n_factors, rng)
        shift = 3.0 * truth * rng.choice([-1, 1], truth.shape)
        z = rng.standard_normal((cells, n_factors)) + shift[code]
        turn = (np.arange(cells) // n_perts) % 7
        part = np.array(PARTS[protocol], dtype=object)[turn]
        unseen = code >= n_perts - heldout
        part[unseen] = "heldout_score"
        parts.append(pd.DataFrame({"replicate": replicate, "cell_id": obs.index, "part": part, "heldout": unseen}))
        run.data.append(root / f"data/world/r{replicate}.h5ad")
        io.write_h5ad(ad.AnnData(sparse.csr_matrix((cells, 4), dtype=np.float32), obs=obs), run.data[-1])
        if with_truth:
            run.truth.append(root / f"data/world/r{replicate}.truth.h5ad")
            known = ad.AnnData(obs=obs[[]], obsm={"z_true": z})
            known.uns |= {"shift": shift, "targets": truth, "perturbations": list(names)}
            io.write_h5ad(known, run.truth[-1])
        for seed in run.spec["seeds"]:
            write_member(run.folder(replicate, seed), obs, z + 0.3 * rng.standard_normal(z.shape), truth)
    folder = root / "split/world/unseen"
    io.write_table(pd.concat(parts), folder / "parts.parquet", "parts")
    (folder / "parts.sha256").write_text("feedfeedfeedfeed\n")
    write_status(run)
    return run


def _spec(protocol):
    return {
        "dataset": "world",
        "split": "unseen",
        "model": "toy",
        "protocol": protocol,
        "replicates": [0, 1],
        "seeds": [0, 1],
        "grid_points": ["default"],
        "metrics": {name: {"use": name, "params": {}} for name in METRICS},
        "n_latents": 3,
        "plugins": [],
        "stochastic": True,
        "label_conditioned": True,
        "adapts": True,
        "hash_config": "0123456789abcdef",
        "hash_code": "fedcba9876543210",
    }


def write_member(folder, obs, z, truth):
    perts = obs["perturbation"].cat.categories
    io.write_latents(folder / "latents.npz", obs.index.to_numpy(), z)
    latent = np.tile(np.arange(truth.shape[1]), len(perts))
    said = {"perturbation": np.repeat(perts, truth.shape[1]), "latent": latent, "score": truth.ravel() * 0.9}
    io.write_table(pd.DataFrame({**said, "on": truth.ravel(), "source": "mask"}), folder / "targets.parquet", "targets")
    cost = np.linspace(100, 110, len(obs))
    usual = pd.DataFrame({"cell_id": obs.index, "protocol": "", "nelbo": cost, "iwelbo": 1 - cost})
    before = usual.assign(protocol="zero_shot", nelbo=cost + 5, iwelbo=-4 - cost)
    after = usual.assign(protocol="finetuned_half", nelbo=cost + 2, iwelbo=-1 - cost)
    io.write_table(pd.concat([usual, before, after]), folder / "likelihood.parquet", "likelihood")


def write_status(run, *, failed=None, job=None):
    """Write members.parquet and status.json; `failed` maps member ids to reasons, `job` is the reason of a dead job."""
    failed = failed or {}
    rows = [(f"r{r}.g0.s{s}", r, s) for r in run.spec["replicates"] for s in run.spec["seeds"]]
    table = pd.DataFrame(
        {
            "member": [name for name, _, _ in rows],
            "replicate": [r for _, r, _ in rows],
            "grid_point": "default",
            "seed": [s for _, _, s in rows],
            "fitted_as": [name for name, _, _ in rows],
            "params": "{}",
            "status": ["failed" if name in failed else "ok" for name, _, _ in rows],
            "reason": [failed.get(name, "") for name, _, _ in rows],
            "epochs": 1,
            "role": "member",
            "retrained": "ok",
        }
    )
    io.write_table(io.empty_table("members") if job else table, run.infer[0] / "members.parquet", "members")
    status = {"status": "failed" if job else "ok", "reason": job or "", "stage": "infer", "members": {}}
    io.write_json(status, run.infer[0] / "status.json")


def expected_rows(spec, scopes):
    """Keys every score table of this spec must hold: replicate, seed, metric, scope, variant."""
    keys = set()
    for name in spec["metrics"]:
        info = registry.describe("metrics", spec["metrics"][name]["use"])
        seeds = [None] if info.over == "seeds" else spec["seeds"]
        for scope in set(scopes) & set(info.scopes):
            for variant in info.variants_on(scope):
                keys |= {(r, s, name, scope, variant) for r in spec["replicates"] for s in seeds}
    return keys
