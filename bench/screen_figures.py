"""What `bench.screen` found, of 300,000 cells and of a tenth of them, wherever it was run."""

import json
from typing import Any

from bench.screen import FOLDER
from bench.table import Row

CELLS, TENTH = 300_000, 30_000
MISSING = "not measured: `python -m bench.screen` was not run"


def rows() -> list[Row]:
    """Read its figures."""
    large, small = _figures(CELLS), _figures(TENTH)
    return [_gain(large), _speed(large), _share(large), _flat(large, small), _memory(large)]


def _figures(cells: int) -> dict[str, Any]:
    """Return what each stage took, or nothing where the last stage has not been run."""
    path = FOLDER / f"{cells}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found if "fit" in found else {}


def _gain(large: dict[str, Any]) -> Row:
    what, against = f"batches of {CELLS:,} cells × 8,000 genes, from a file", "sorted scipy slicing to the same tensor"
    if "assemble" not in large:
        return Row(what, against, "–", "≥ 6", "10", None, MISSING)
    gain, note = large["assemble"]["gain"], f"{large['assemble']['ms_a_batch']:.2f} ms a batch"
    return Row(what, against, f"{gain:.1f}", "≥ 6", "10", gain >= 6, note)


def _speed(large: dict[str, Any]) -> Row:
    what, against = "training on these, one member, compiled", "its products' speed"
    if not large:
        return Row(what, against, "–", "≥ 60%", "75%", None, MISSING)
    speed, note = large["fit"]["speed_of_products"], f"{large['fit']['us_per_cell']:.0f} µs a cell"
    return Row(what, against, f"{speed:.0%}", "≥ 60%", "75%", speed >= 0.6, note)


def _share(large: dict[str, Any]) -> Row:
    what, against = "making its batches", "that training"
    if not large:
        return Row(what, against, "–", "≤ 10%", "", None, MISSING)
    share = large["fit"]["loader_share"]
    return Row(what, against, f"{share:.0%}", "≤ 10%", "", share <= 0.1)


def _flat(large: dict[str, Any], small: dict[str, Any]) -> Row:
    what, against = "its cost per cell, in products", f"that of {TENTH:,} cells"
    if not (large and small):
        return Row(what, against, "–", "≤ 1.1", "1", None, MISSING)
    more = small["fit"]["speed_of_products"] / large["fit"]["speed_of_products"]
    return Row(what, against, f"{more:.2f}", "≤ 1.1", "1", more <= 1.1)


def _memory(large: dict[str, Any]) -> Row:
    what = "its anonymous memory"
    if not large:
        return Row(what, "", "–", "≤ 1.5 GB", "", None, MISSING)
    peak = {stage: taken["anonymous_mb"] / 1e3 for stage, taken in large.items()}
    names = {"prepare": "preparing", "cut": "splitting"}
    note = ", ".join(f"{name} {peak[stage]:.2f} GB" for stage, name in names.items() if stage in peak)
    return Row(what, "", f"{peak['fit']:.2f} GB", "≤ 1.5 GB", "", peak["fit"] <= 1.5, note)
