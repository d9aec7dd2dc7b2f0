"""What a dataset file must define, and helpers for reading real data.

A dataset's file holds ``info = DatasetInfo(...)``, ``class Params`` and `load`; the data stage calls it once per
replicate and checks what comes back against `scident.contracts.check_data`.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import anndata as ad

from scident.params import PluginParams


@runtime_checkable
class Dataset(Protocol):
    """A module of ``scident.datasets``."""

    Params: type[PluginParams]

    def load(self, params: Any, cache: Path) -> ad.AnnData:
        """Return all cells: counts in X; obs ``perturbation`` (categorical), ``is_control``, ``context``.

        `cache` is a folder for downloads. Where the truth is known it rides along as with a simulator (obsm ``z_true``,
        uns ``shift``). A file that cannot be used raises `scident.errors.DataError`.
        """
        ...


def natural_order(labels: Iterable[str]) -> list[str]:
    """Sort labels as a person would: ``p2`` before ``p10``.

    >>> natural_order(["p10", "p2", "control"])
    ['control', 'p2', 'p10']
    """
    return sorted(labels, key=lambda label: ([_rank(part) for part in re.split(r"(\d+)", label)], label))


def _rank(part: str) -> tuple[int, int, str]:
    return (0, int(part), "") if part.isdecimal() else (1, 0, part)
