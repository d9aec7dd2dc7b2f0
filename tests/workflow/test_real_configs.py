"""The configurations of published data: each plans its jobs, cuts its splits and reports on a miniature of its file."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from _snakemake import ROOT, Checkout

import _in_process
import _miniatures
from scident.types import parts_of

DOUBLES = ["AHR+KLF1", "AHR+CEBPE", "CEBPE+KLF1", "AHR+SET", "KLF1+SET", "CEBPE+SET", "AHR+MIDN", "KLF1+MIDN"]
LISTED = ["DIS3", "MTREX", "LSM2", "LSM3", "MED10", "MED11", "CCNH", "ERCC2"]  # two of each held-out pathway
LISTED += ["RPS2", "RPS3", "MRPL2", "MRPL3", "RPL4", "RPL5", "AARS", "GFER"]
TYPES = ["B cells", "CD14+ Monocytes", "CD4 T cells", "CD8 T cells", "FCGR3A+ Monocytes", "NK cells"]
DRUGS = ["Belinostat", "(+)-JQ1", "Trametinib (GSK1120212)"]

SHORT = {"epochs": 3, "retrain_epochs": 1, "rotate_after": 1, "warmup_epochs": 1}
CONTROLS = 7
"""Control methods where no truth is known: four of latents, three of responses."""
MEANS = {"no_change", "training_mean", "half_split", "context-mean"}
"""Rows that every benchmark of real data has; additive and the conditional VAE say nothing of new perturbations."""


@dataclass(frozen=True)
class Real:
    """What a configuration plans at full size, and the miniature it is tried on."""

    dataset: str
    replicates: int
    splits: int
    models: int
    control: str
    labels: list[str]
    others: dict[str, list[Any]] = field(default_factory=dict)
    """Columns that tell conditions apart beside the label -> their values."""
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Split -> parameters without which the miniature is too small for it."""
    tried: tuple[str, ...] = ()
    """Splits that are trained on."""
    methods: tuple[str, ...] = ()
    """Models that are trained beside context mean, additive and conditional VAE."""


CONFIGS = {
    "norman": Real(
        *("norman2019", 5, 7, 6, "control"),
        ["AHR", "KLF1", "CEBPE", "SET", "MIDN", *DOUBLES],
        changes={"unseen-perturbation": {"strongest": 3}},
        tried=("unseen-combination", "unseen-perturbation"),
        methods=("svae-plus",),
    ),
    "replogle": Real(
        *("replogle2022_k562_gwps", 3, 9, 9, "non-targeting"),
        LISTED,
        tried=("exosome", "spliceosome-released"),
        methods=("svae-plus-released", "ivae"),
    ),
    "sciplex": Real(
        *("sciplex3", 3, 3, 8, "control"),
        DRUGS,
        {"cell_line": ["A549", "K562", "MCF7"], "dose_value": [10.0, 1000.0]},
        tried=("unseen-pair", "unseen-context", "unseen-dose"),
        methods=("fcr",),
    ),
    "mixseq": Real(
        *("mcfarland2020_mixseq", 3, 2, 8, "control"),
        ["Trametinib", "Idasanutlin", "JQ1"],
        {"cell_line": ["LNCAPCLONEFGC", "DKMG", "RCC10RGB", "SQ1", "TEN"]},
        changes={"unseen-context": {"last_n": 2}},
        tried=("unseen-pair", "unseen-context"),
        methods=("fcr-flow",),
    ),
    "kang": Real(
        *("kang2018", 5, 4, 7, "ctrl"), ["stim"], {"cell_type": TYPES}, tried=("unseen-cd4-t",), methods=("fcr",)
    ),
}
ADDITIVE = [(name, split) for name in ("norman", "sciplex", "mixseq", "kang") for split in CONFIGS[name].tried]
"""Where what is held out is made of what training sees; a new perturbation is not."""
ADDITIVE.remove(("norman", "unseen-perturbation"))


def miniature(real: Real, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Write the miniature of the published file with forty cells of each condition, parts of which multiply counts."""
    conditions = list(itertools.product([real.control, *real.labels], *real.others.values()))
    n = 40 * len(conditions)
    monkeypatch.setattr(_miniatures, "PER_LABEL", n)
    cells = _miniatures.MINIATURES[real.dataset]().adata[:n].copy()
    told = pd.DataFrame(conditions * 40, columns=["label", *real.others])
    in_file = told["label"].str.replace("+", "_") if real.dataset == "norman2019" else told["label"]
    cells.obs["label" if "label" in cells.obs else "perturbation"] = pd.Categorical(in_file)
    usual = {"cell_quality": "normal", "perturbation_type": "drug", "time": 24.0}
    for column, value in usual.items():
        if column in cells.obs:
            cells.obs[column] = value
    for column in real.others:
        cells.obs[column] = told[column].to_numpy()
    if "dose_value" in real.others:
        cells.obs.loc[(told["label"] == real.control).to_numpy(), "dose_value"] = np.nan
    counts = _counts(told, real.control, cells.n_vars)
    cells.X = counts if isinstance(cells.X, np.ndarray) else type(cells.X)(counts)
    cells.write_h5ad(path)


def _counts(told: pd.DataFrame, control: str, genes: int) -> np.ndarray:
    """Draw counts whose logarithms of means add up: genes, contexts, and the parts of what was done to a cell."""
    rng = np.random.default_rng(0)
    rate = np.tile(rng.normal(4.0, 0.3, genes), (len(told), 1))
    singles = sorted({part for name in told["label"] for part in parts_of(name)} - {control})
    shifts = {single: rng.normal(0, 0.7, genes) for single in singles}
    done = [[part for part in parts_of(name) if part != control] for name in told["label"]]
    rate += np.array([sum((shifts[part] for part in parts), np.zeros(genes)) for parts in done])
    for column in set(told) - {"label", "dose_value"}:
        kinds = {value: rng.normal(0, 0.6, genes) for value in told[column].unique()}
        rate += np.array([kinds[value] for value in told[column]])
    return rng.poisson(np.exp(rate)).astype(np.float32)


def shrunk(name: str, path: Path) -> dict[str, Any]:
    """Return the configuration at scale small, with the miniature in place of the download and a few short epochs."""
    real = CONFIGS[name]
    content = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    small = content["scales"]["small"]
    entry = small["datasets"][real.dataset]
    entry |= {"path": str(path), "n_latents": 3}
    if "prepare" in content["datasets"][real.dataset]:
        entry["prepare"] |= {"min_counts": 5, "min_genes": 3}
    for model, given in content["models"].items():
        small["models"][model] = {key: value for key, value in SHORT.items() if key in (given or {})}
    small["splits"] = real.changes
    return content | {"scale": "small"}


@pytest.fixture(scope="module", params=CONFIGS)
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Name of a configuration, and the results of its tried splits and methods on a miniature."""
    real, folder = CONFIGS[request.param], tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as monkeypatch:
        miniature(real, monkeypatch, folder / "mini.h5ad")
    content = shrunk(request.param, folder / "mini.h5ad")
    _in_process.cut(content, folder / "cut")
    for key, kept in (("splits", real.tried), ("models", (*real.methods, "context-mean", "additive", "cond-vae"))):
        for entries in (content[key], content["scales"]["small"][key]):
            for other in set(entries) - set(kept):
                del entries[other]
    _in_process.run(content, folder / "results")
    return request.param, folder


@pytest.mark.parametrize("name", CONFIGS)
def test_config_of_published_data_plans_its_jobs(checkout: Checkout, name: str) -> None:
    real = CONFIGS[name]
    jobs = checkout.jobs("--configfile", f"config/{name}.yaml")
    assert (jobs["data_without_truth"], jobs["split"]) == (real.replicates, real.splits)
    assert jobs["train"] == jobs["infer"] == jobs["score"] == real.splits * (real.models + CONTROLS)


@pytest.mark.slow
def test_every_split_of_a_config_of_published_data_holds_cells_out(tried: tuple[str, Path]) -> None:
    name, folder = tried
    found = {path.parent.name: pd.read_parquet(path) for path in folder.glob("cut/split/*/*/parts.parquet")}
    assert len(found) == CONFIGS[name].splits
    for split, parts in found.items():
        share = (parts["part"] == "heldout_score").mean()
        assert 0.005 < share < 0.6, split


@pytest.mark.slow
def test_config_of_published_data_reports_unseen_conditions_of_a_miniature(tried: tuple[str, Path]) -> None:
    name, folder = tried
    page = (folder / "results/report/index.html").read_text()
    scores = pd.read_parquet(folder / "results/aggregate/scores.parquet")
    assert not (scores["status"] == "failed").any(), scores.loc[scores["status"] == "failed", ["model", "reason"]]
    ood = scores.query("scope == 'ood' and status == 'ok' and perturbation.isna()")
    for split in CONFIGS[name].tried:
        assert split in page
        for metric in ("delta_pearson", "pref_delta_pearson", "nmse_corrected", "r2_mean_legacy"):
            rows = ood[(ood["split"] == split) & (ood["metric"] == metric)]
            lacking = {"half_split"} if split.endswith("released") else set()  # no cells are left to split off
            assert set(rows["model"]) >= MEANS - lacking, (split, metric)


@pytest.mark.slow
def test_additive_predicts_what_adds_up_in_every_config(tried: tuple[str, Path]) -> None:
    name, folder = tried
    scores = pd.read_parquet(folder / "results/aggregate/scores.parquet")
    own = scores.query("scope == 'ood' and metric == 'nmse_corrected' and perturbation.isna() and variant == ''")
    for split in (split for of, split in ADDITIVE if of == name):
        error = own[own["split"] == split].set_index("model")["value"]
        assert error["additive"] < 0.5 * min(error["training_mean"], error["no_change"])
        guessed = scores.query("scope == 'ood' and model == 'cond-vae' and status == 'ok' and split == @split")
        assert "delta_pearson" in set(guessed["metric"])
