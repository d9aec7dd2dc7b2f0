"""A results tree as the score stage would leave it, with invented numbers: for tests of aggregate and report."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from scident import io
from scident.contracts import HASHES

METHODS = {
    "svae_plus": ("sVAE+", "method", 0.80),
    "ivae_released": ("iVAE (released)", "method", 0.66),
    "vae": ("VAE", "baseline", 0.55),
    "pca": ("PCA", "baseline", 0.46),
    "fastica": ("FastICA", "baseline", 0.72),
}
CONTROLS = {
    "oracle_truth": ("Truth", "positive_control", 1.0),
    "oracle_noisy": ("Noisy oracle", "positive_control", 0.988),
    "rotated_truth": ("Rotated truth", "positive_control", 0.52),
    "random_encoder": ("Random encoder", "negative_control", 0.02),
    "random_projection": ("Random projection", "negative_control", 0.39),
    "label_only": ("Label only", "negative_control", 0.42),
    "untrained": ("Untrained VAE", "negative_control", 0.33),
}
MODELS = METHODS | CONTROLS
TRAINED = ("svae_plus", "ivae_released", "vae")
TARGETLESS = ("random_encoder",)

UNIT = (0.0, 1.0)
EVERYWHERE = ("iid", "ood", "insample")


BOUND_VARIANTS = ["", "zero_shot", "finetuned_half", "finetuned_insample"]


def _metric(label, formula, *, needs=("latents", "truth"), over="member", scopes=EVERYWHERE, bound=False, **more):
    declared = (
        {"better": "higher", "range": UNIT, "no_skill": None, "ceiling": 1.0, "tier": "fast"} | {"shown": []} | more
    )
    return {
        "label": label,
        "source": "Example et al. (2020)",
        "formula": formula,
        "needs": list(needs),
        "over": over,
        "scopes": list(scopes),
        "variants": ["corrected", "released"] if label.startswith("Target") else BOUND_VARIANTS if bound else [""],
        **declared,
        "range": list(declared["range"]),
    }


METRICS = {
    "mcc_pearson": _metric("MCC (Pearson)", "mean |corr| of matched pairs", no_skill=0.025),
    "mcc_spearman": _metric("MCC (Spearman)", "mean |rank corr| of matched pairs"),
    "mcc_within": _metric("MCC within conditions", "MCC of residuals"),
    "r2_linear": _metric("R² linear", "1 - RSS/TSS", range=(-np.inf, 1.0)),
    "target_auprc": _metric("Target AUPRC", "area under precision-recall", needs=("truth", "targets")),
    "target_f1": _metric("Target F1", "2PR/(P+R)", needs=("truth", "targets")),
    "target_precision": _metric("Target precision", "TP/(TP+FP)", needs=("truth", "targets")),
    "target_recall": _metric("Target recall", "TP/(TP+FN)", needs=("truth", "targets")),
    "nelbo": _metric(
        "Negative ELBO",
        "-E[log p(x|z)] + KL",
        needs=("likelihood",),
        better="lower",
        range=(-np.inf, np.inf),
        ceiling=None,
        scopes=(*EVERYWHERE, "val"),
        bound=True,
    ),
    "iwelbo": _metric(
        "IWELBO",
        "log mean p(x, z) / q(z | x)",
        needs=("likelihood",),
        range=(-np.inf, np.inf),
        ceiling=None,
        scopes=("iid", "ood"),
        bound=True,
    ),
    "seed_mcc": _metric("Seed MCC", "mean MCC between seeds", needs=("latents",), over="seeds"),
    "seed_target_jaccard": _metric("Seed target Jaccard", "shared / any", needs=("targets",), over="seeds"),
    "probe_z_perturbation": _metric(
        "Probe of perturbation", "accuracy", needs=("latents", "labels"), better="neither", scopes=("iid",)
    ),
}
SHAPE = {"mcc_spearman": 0.95, "mcc_within": 0.85, "target_auprc": 0.9, "target_f1": 0.8, "seed_mcc": 0.97}


def plan(*, truth=True, replicates=5, seeds=2, protocol="heldout", grid=False, split="unseen_perturbation"):
    """Return the plan of a benchmark of twelve models on one dataset and one split; `grid` may list its penalties."""
    penalties = [10, 100] if grid is True else list(grid or [])
    name = "sparse-shift" if truth else "screen"
    models = {
        key: {
            "label": label,
            "role": role,
            "use": key,
            "source": "Example et al. (2020)",
            "grid_points": [f"penalty={p}" for p in penalties] if grid and key == "svae_plus" else ["default"],
            "stochastic": key not in {"pca", "oracle_truth"},
            "identifiability": "component" if key in TRAINED else "none",
            "assumes": f"what {label} assumes",
            "likelihood": "negative binomial" if key in TRAINED else "none",
            "licence": "BSD-3-Clause",
            "of": "",
            "note": "penalty fixed, tuned elsewhere" if key == "svae_plus" else "",
        }
        for key, (label, role, _) in MODELS.items()
    }
    runs = [
        {
            "dataset": name,
            "split": split,
            "model": key,
            "replicates": list(range(replicates)),
            "seeds": list(range(seeds)),
            "grid_points": model["grid_points"],
            "shards": 2 if key in TRAINED else 1,
            "skipped": None if truth or model["role"] != "positive_control" else "no_truth",
        }
        for key, model in models.items()
    ]
    label = "Sparse shift (corrected)" if truth else "Papalexi 2021 <THP-1>"
    return {
        "config": {
            "replicates": replicates,
            "seeds": seeds,
            "selection": "stability",
            "datasets": {name: {"use": "sparse_shift"}},
            "models": {},
        },
        "versions": {"scident": "0.1.0", "numpy": "2.4.6"},
        "datasets": {
            name: {
                "label": label,
                "source": "Lopez et al. (2023), arXiv 2211.03553",
                "has_truth": truth,
                "has_blocks": False,
            }
        },
        "splits": {split: {"label": "Unseen perturbations", "protocol": protocol}},
        "models": models,
        "metrics": {name: metric | {"use": name} for name, metric in METRICS.items()},
        "runs": runs,
    }


def tree(results: Path, plan: dict, *, fail: str = "some") -> None:
    """Write the files of every run of `plan`; `fail` is none, some (VAE loses a member, FastICA ood) or all."""
    for run in plan["runs"]:
        if run["skipped"]:
            continue
        rows = pd.DataFrame([row for member in _members(run) for row in _rows(plan, run, member, fail)])
        folder = results / "score" / run["dataset"] / run["split"]
        io.write_table(rows, folder / f"{run['model']}.parquet", "scores")
        has_targets = plan["datasets"][run["dataset"]]["has_truth"] and fail != "all" and run["model"] not in TARGETLESS
        aligned = (
            pd.concat([_aligned(run, i) for i in range(len(run["grid_points"]))])
            if has_targets
            else io.empty_table("aligned")
        )
        io.write_table(aligned, folder / f"{run['model']}.aligned.parquet", "aligned")
        _jobs(results, run, fail)


def _members(run):
    pairs = [(r, g) for r in run["replicates"] for g in run["grid_points"]]
    return [(r, g, s) for r, g in pairs for s in [*run["seeds"], None]]


def _rows(plan, run, member, fail):
    replicate, point, seed = member
    dataset = plan["datasets"][run["dataset"]]
    protocol = plan["splits"][run["split"]]["protocol"]
    scopes = ("insample" if protocol == "released" else "iid", "ood", "val")
    for name, metric in plan["metrics"].items():
        if (metric["over"] == "seeds") != (seed is None):
            continue
        for scope in (s for s in scopes if s in metric["scopes"]):
            for variant in _variants(name, scope):
                status, reason = _status(dataset, protocol, run, name, metric, scope, variant, member, fail)
                value = _value(run["model"], name, scope, variant, member) if status == "ok" else None
                singles = range(4) if name in BOUNDS and status == "ok" and scope != "val" else ()
                for perturbation in (*singles, None):
                    yield {
                        "dataset": run["dataset"],
                        "replicate": replicate,
                        "split": run["split"],
                        "scope": scope,
                        "model": run["model"],
                        "grid_point": point,
                        "seed": seed,
                        "metric": name,
                        "variant": variant,
                        "perturbation": None if perturbation is None else f"p{perturbation}",
                        "value": value if perturbation is None else value + 5 * (perturbation - 1.5),
                        "se": 0.02 if seed is None and status == "ok" else None,
                        "n": 1000 if status == "ok" else 0,
                        "status": status,
                        "reason": reason,
                        **{h: io.digest_of([h, run["model"]]) for h in HASHES},
                    }


BOUNDS = ("nelbo", "iwelbo")
ADAPTING = ("svae_plus", "ivae_released")


def _variants(name, scope):
    if name.startswith("target_"):
        return ["corrected", "released"] if scope == "insample" else ["corrected"]
    return BOUND_VARIANTS[1:] if name in BOUNDS and scope == "ood" else [""]


OTHER_FIT = {"heldout": "finetuned_insample", "released": "finetuned_half"}
"""Protocol of the split -> the fit to held-out perturbations that it does not run."""


def _status(dataset, protocol, run, name, metric, scope, variant, member, fail):
    model, (replicate, point, seed) = run["model"], member
    unseen = scope == "ood" and name.startswith("target_")
    fitted = variant.startswith("finetuned")
    rules = [
        (fail == "all", ("failed", "killed")),
        ("truth" in metric["needs"] and not dataset["has_truth"], ("not_applicable", "no_truth")),
        (name in BOUNDS and model not in TRAINED, ("not_applicable", "no_likelihood")),
        (fitted and model == "vae", ("not_applicable", "nothing_to_fit")),
        (variant == OTHER_FIT[protocol], ("not_applicable", "split_undefined")),
        (scope == "ood" and name in BOUNDS and point == "penalty=10", ("not_applicable", "not_retrained")),
        (unseen, ("not_applicable", "split_undefined")),
        ("targets" in metric["needs"] and model in TARGETLESS, ("not_applicable", "no_targets")),
        (fail == "some" and (model, replicate, seed) == ("vae", 1, 1), ("failed", "nonfinite_latents")),
        (fail == "some" and model == "untrained" and metric["over"] == "member", ("failed", "killed")),
        (name == "seed_target_jaccard", ("ok", "score_source=mask, empty_share=0.125")),
        (name.startswith("target_") and model in TRAINED, ("ok", "score_source=mask, base_rate=0.130")),
    ]
    return next((found for applies, found in rules if applies), ("ok", ""))


PENALTY = {"penalty=1": -0.25, "penalty=3": -0.2, "penalty=10": -0.1, "penalty=300": -0.05}
"""What a penalty costs in MCC."""


def _value(model, name, scope, variant, member):
    replicate, point, seed = member
    rng = np.random.default_rng([list(MODELS).index(model), replicate, seed or 0, len(point), len(name), len(scope)])
    level = MODELS[model][2] + PENALTY.get(point, 0.0) - (0.04 if scope == "ood" else 0.0)
    noise = rng.normal(0, 0.02) + 0.01 * np.sin(replicate)
    if name in BOUNDS:
        world, fitted = 15 * np.sin(3 * replicate), 0.6 if variant.startswith("finetuned") else 0.0
        bound = 250 - 10 * level + noise + world - fitted
        return bound if name == "nelbo" else 2 - bound
    return float(np.clip(level * SHAPE.get(name, 1.0) + noise, 0, 1))


def _aligned(run, point):
    perturbations, factors = 30, 6
    true = np.random.default_rng(0).random((perturbations, factors)) < 0.2
    rng = np.random.default_rng([list(MODELS).index(run["model"]), point])
    level = MODELS[run["model"]][2]
    score = np.where(rng.random(true.shape) < level, true, rng.random(true.shape))
    k, j = np.indices(true.shape)
    return pd.DataFrame(
        {
            "dataset": run["dataset"],
            "split": run["split"],
            "model": run["model"],
            "grid_point": run["grid_points"][point],
            "seed": 0,
            "perturbation": [f"p{i:02d}" for i in k.ravel()],
            "factor": j.ravel(),
            "score": score.ravel().astype(float),
            "on": (score > 0.5).ravel(),
            "true": true.ravel(),
            "source": "mask" if run["model"] in TRAINED else "derived",
        }
    )


def _jobs(results, run, fail):
    names = [
        f"r{r}.g{i}.s{s}" for r in run["replicates"] for i, _ in enumerate(run["grid_points"]) for s in run["seeds"]
    ]
    for shard in range(run["shards"]):
        members = names[shard :: run["shards"]]
        for stage in ("train", "infer"):
            folder = results / stage / run["dataset"] / run["split"] / run["model"] / f"s{shard}"
            folder.mkdir(parents=True)
            status = "failed" if fail == "all" else "ok"
            costs = {"wall_s": 12.5, "cpu_s": 11.0, "peak_rss_mb": 512.0, "cells_per_s": 9e3, "n_params": 41_000}
            record = {
                "status": status,
                "reason": "killed" if fail == "all" else "",
                "stage": stage,
                "members": {name: {"status": status, "reason": ""} for name in members},
                "hashes": {},
                "costs": costs,
            }
            (folder / "status.json").write_text(json.dumps(record))
        if run["model"] in TRAINED and fail != "all":
            trained = results / "train" / run["dataset"] / run["split"] / run["model"] / f"s{shard}"
            history = pd.concat([_history(members, run["model"]), _judged(members, run["grid_points"])])
            io.write_table(history, trained / "history.parquet", "history")


def _judged(members, points):
    """Criteria of every grid point where there is a choice, and the curve of an extra member and a second training."""
    rows = []
    for member in members if len(points) > 1 else []:
        replicate, index = (int(part[1:]) for part in member.split(".")[:2])
        rng = np.random.default_rng([replicate, index])
        level = PENALTY.get(points[index], 0.0)
        values = {
            "val_nelbo": 245 + 0.8 * index + 12 * np.sin(replicate) + rng.normal(0, 0.2),
            "stability": 0.8 + level + rng.normal(0, 0.03),
            "heldout_validation": -246 + 8 * level + 12 * np.cos(replicate) + rng.normal(0, 0.3),
        }
        rows += [(member, 40, "select", name, value) for name, value in values.items()]
        again = "retrain", "val_nelbo", 243.0
        rows += [(f"r{replicate}.g{index}.v0", 0, "train", "val_nelbo", 1e6), *((member, e, *again) for e in (0, 1, 2))]
    columns = ["member", "epoch", "phase", "quantity", "value"]
    return pd.DataFrame(rows, columns=columns) if rows else io.empty_table("history")


def _history(members, model):
    epochs = np.arange(0, 40)
    curves = {
        "val_nelbo": 250 - 10 * MODELS[model][2] + 60 * np.exp(-epochs / 6),
        "val_kl": 20 * (1 - np.exp(-epochs / 5)),
    }
    return pd.DataFrame(
        [
            {"member": m, "epoch": int(e), "phase": "train", "quantity": q, "value": float(v + 0.5 * np.sin(i + e))}
            for i, m in enumerate(members)
            for q, values in curves.items()
            for e, v in zip(epochs, values, strict=True)
        ]
    )
