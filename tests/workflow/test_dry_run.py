"""Every configuration that ships has the jobs it should have."""

import subprocess
import sys

import yaml
from _snakemake import ROOT, Checkout, entry


def test_default_config_has_at_most_60_jobs(checkout: Checkout) -> None:
    jobs = checkout.jobs()
    expected = {"data_with_truth": 5, "split": 1, "train": 15, "infer": 15, "score": 12}
    assert jobs == expected | {"aggregate": 1, "report": 1, "all": 1}
    assert sum(jobs.values()) <= 60


def test_smoke_config_trains_each_model_in_one_job(checkout: Checkout) -> None:
    jobs = checkout.jobs("--configfile", "config/smoke.yaml")
    assert jobs["train"] == jobs["infer"] == jobs["score"] == 10


def test_local_config_makes_no_oracle_jobs(checkout: Checkout) -> None:
    (checkout.folder / "mine.h5ad").touch()
    printed = checkout.snakemake("--dry-run", "--configfile", "config/local.yaml", "--config", "path=mine.h5ad")
    assert "oracle" not in printed
    assert "data_without_truth" in printed


def test_default_profile_is_loaded(checkout: Checkout) -> None:
    printed = checkout.snakemake("--dry-run")
    assert "profiles/default" in printed


def test_reference_config_trains_twenty_seeds_in_two_jobs(checkout: Checkout) -> None:
    (checkout.folder / "published.h5ad").touch()
    options = ("--configfile", "config/reference_svae.yaml", "--config", "path=published.h5ad")
    assert checkout.jobs(*options)["train"] == 2 + 7  # the controls, all of them since this file carries its truth
    assert checkout.jobs(*options, "scale=ivae")["train"] == 2 + 7


def test_paper_config_has_every_member_of_the_family(checkout: Checkout) -> None:
    for scale in ("fast", None):
        options = ("--config", f"scale={scale}") if scale else ()
        jobs = checkout.jobs("--configfile", "config/paper_svae.yaml", *options)
        assert jobs["data_with_truth"] == 10
        assert jobs["score"] == 2 * (12 + 7)


def test_fcr_study_and_factorised_models_on_real_contexts_plan_their_jobs(checkout: Checkout) -> None:
    jobs = checkout.jobs("--configfile", "config/paper_fcr.yaml", "--config", "scale=fast")
    assert jobs["data_with_truth"] == 5 + 2 + 6 * 3
    assert jobs["train"] == jobs["infer"] == jobs["score"]
    (checkout.folder / "mine.h5ad").touch()
    real = checkout.jobs("--configfile", "config/local_contexts.yaml", "--config", "path=mine.h5ad")
    assert (real["data_without_truth"], "data_with_truth" in real) == (3, False)


def test_jobs_do_not_depend_on_the_entry_order(checkout: Checkout) -> None:
    first = checkout.config(entry(models={"pca": None, "fastica": None}), "config/a.yaml")
    second = checkout.config(entry(models={"fastica": None, "pca": None}), "config/b.yaml")
    assert checkout.jobs("--configfile", first) == checkout.jobs("--configfile", second)


def test_broken_config_stops_with_a_sentence_and_no_traceback(checkout: Checkout) -> None:
    broken = checkout.config(entry(models={"pac": None}))
    printed = checkout.snakemake("--configfile", broken, fails=True)
    assert "Did you mean 'pca'?" in printed
    assert "Traceback" not in printed
    assert not (checkout.folder / "results").exists()


def test_slurm_profile_gives_training_a_gpu_and_a_partition(checkout: Checkout) -> None:
    # the executor itself is an optional extra: the local one stands in for it
    options = ("--dry-run", "--workflow-profile", "profiles/slurm", "--executor", "local")
    printed = checkout.snakemake(*options, "--resources", "gpu=1", "--quiet", "host", "--printshellcmds", "--verbose")
    assert "profiles/slurm" in printed
    profile = yaml.safe_load((checkout.folder / "profiles/slurm/config.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert profile["set-resources"]["train"]["gpu"] == 1


def test_snakemake_lint_finds_nothing(checkout: Checkout) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"], cwd=checkout.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_conda_environments_exist_for_every_rule() -> None:
    used = {
        line.split('"')[1].removeprefix("../../")
        for rules in (ROOT / "workflow" / "rules").glob("*.smk")
        for line in rules.read_text().splitlines()
        if "envs/" in line
    }
    assert used == {f"envs/{name}.yaml" for name in ("core", "torch", "report")}
    assert all((ROOT / name).is_file() for name in used)
