"""Report stage: one page that answers the question, and its tables and figures as files."""

import logging
from pathlib import Path
from typing import Any

from scident import io
from scident.report.render import report
from scident.report.view import Tables

log = logging.getLogger(__name__)


def run(plan: dict[str, Any], aggregate: Path, out: Path) -> None:
    """Write ``index.html`` (self-contained), ``tables/*.csv`` and ``figures/*.svg``.

    Parameters
    ----------
    plan
        The benchmark's plan.
    aggregate
        Folder of the aggregate tables.
    out
        Folder of the report.
    """
    made = report(plan, Tables.read(aggregate))
    with io.atomic_folder(out / "tables") as folder:
        for name, table in made.tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
    with io.atomic_folder(out / "figures") as folder:
        for name, svg in made.figures.items():
            (folder / f"{name}.svg").write_text(svg)
    with io.atomic(out / "index.html") as temporary:
        temporary.write_text(made.html)
    log.info("report: %s", out / "index.html")
