"""The miniature benchmark: it reports, it does nothing twice, and a change re-runs what depends on it and no more."""

import pandas as pd
import pytest
import yaml
from _snakemake import Checkout

SMOKE = ("--configfile", "config/smoke.yaml")
DOWNSTREAM = {"aggregate": 1, "report": 1, "all": 1}

pytestmark = pytest.mark.slow


@pytest.fixture
def changed(finished: Checkout):
    """Undo what a test does to the finished checkout's sources and configuration."""
    kept = {
        path: path.read_bytes()
        for folder in ("src/scident/metrics", "src/scident/models", "config")
        for path in (finished.folder / folder).iterdir()
        if path.is_file()
    }
    yield finished
    for folder in {path.parent for path in kept}:
        for path in folder.iterdir():
            if path.is_file() and path not in kept:
                path.unlink()
    for path, content in kept.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def scores(checkout: Checkout) -> pd.DataFrame:
    return pd.read_parquet(checkout.folder / "results/aggregate/scores.parquet")


def test_smoke_run_says_where_the_report_is(finished: Checkout) -> None:
    page = finished.folder / "results/report/index.html"
    assert page.is_file()
    lines = [line for line in finished.printed.splitlines() if "The report is" in line]
    assert lines == [f"The report is {page}"]


def test_smoke_run_has_no_failed_row(finished: Checkout) -> None:
    table = scores(finished)
    assert set(table["status"]) == {"ok", "not_applicable"}
    assert set(table["model"]) >= {"vae", "svae-plus", "pca", "oracle_noisy", "random_encoder", "untrained"}


def test_smoke_run_ranks_the_oracle_above_random(finished: Checkout) -> None:
    table = scores(finished).query("status == 'ok' and scope == 'iid'")
    for metric in ("mcc_pearson", "r2_linear", "target_auprc"):
        means = table[(table["metric"] == metric) & table["variant"].isin(["", "corrected"])].groupby("model")["value"]
        assert means.mean()["oracle_noisy"] > means.mean()["random_encoder"]


def test_second_run_has_nothing_to_do(finished: Checkout) -> None:
    assert finished.jobs(*SMOKE) == {}


def test_changed_penalty_reruns_only_svae_plus(changed: Checkout) -> None:
    config = yaml.safe_load((changed.folder / "config/smoke.yaml").read_text())
    config["models"]["svae-plus"]["penalty"] = 7
    jobs = changed.jobs("--configfile", changed.config(config))
    assert jobs == {"train": 1, "infer": 1, "score": 1} | DOWNSTREAM


def test_changed_metric_rescores_and_trains_nothing(changed: Checkout) -> None:
    metric = changed.folder / "src/scident/metrics/r2_linear.py"
    metric.write_text(metric.read_text() + "\n# touched\n")
    assert changed.jobs(*SMOKE) == {"score": 10} | DOWNSTREAM


def test_changed_model_reruns_only_that_model(changed: Checkout) -> None:
    model = changed.folder / "src/scident/models/pca.py"
    model.write_text(model.read_text() + "\n# touched\n")
    assert changed.jobs(*SMOKE) == {"train": 1, "infer": 1, "score": 1} | DOWNSTREAM


def test_added_metric_rescores_and_trains_nothing(changed: Checkout) -> None:
    config = yaml.safe_load((changed.folder / "config/smoke.yaml").read_text())
    config["metrics"]["mcc_spearman"] = None
    assert changed.jobs("--configfile", changed.config(config)) == {"score": 10} | DOWNSTREAM


def test_snakemake_report_is_one_offline_file(finished: Checkout) -> None:
    finished.snakemake(*SMOKE, "--report", "report.html")
    assert "scident" in (finished.folder / "report.html").read_text()
