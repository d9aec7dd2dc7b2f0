"""One file and one config line: a new plug-in of every kind is trained, scored and in the report."""

import pandas as pd
import pytest
from _snakemake import Checkout, entry

pytestmark = pytest.mark.slow


def test_new_plugins_take_part(checkout: Checkout) -> None:
    for kind in ("model", "metric", "simulator", "dataset", "split"):
        checkout.python("-m", "scident", "new", kind, f"my_{kind}")
    content = entry()
    content["models"] = {"my-model": {"use": "my_model"}}
    content["metrics"] = {"mcc_pearson": None, "my_metric": None}
    content["datasets"] = {"my-simulator": {"use": "my_simulator"}, "my-dataset": {"use": "my_dataset"}}
    content["splits"] = {"my-split": {"use": "my_split"}}
    checkout.in_process(checkout.config(content), checkout.folder / "results")
    table = pd.read_parquet(checkout.folder / "results/aggregate/scores.parquet")
    mine = table[table["model"] == "my-model"]
    assert set(mine["dataset"]) == {"my-simulator", "my-dataset"}
    assert (mine.query("dataset == 'my-simulator' and metric == 'my_metric'")["status"] == "ok").any()
    failed = table.query("status == 'failed'")
    assert failed.empty, failed[["dataset", "split", "model", "metric", "reason"]].drop_duplicates().to_string()
    tables = "".join(path.read_text() for path in (checkout.folder / "results/report/tables").glob("*.csv"))
    for name in ("my-model", "my_metric", "my-simulator", "my-dataset", "my-split"):
        assert name in tables, f"{name} is in no table of the report"
