"""What the screens of Replogle et al. (2022) share: the same counts in two published files."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import anndata as ad
from pydantic import Field

from scident.datasets import _published
from scident.info import DatasetInfo, Size

FILES = ("scperturb", "author")
"""In the order of ``info.files``."""


class Params(_published.PublishedParams):
    """What every screen lets one set."""

    file: Literal["scperturb", "author"] = Field(
        "scperturb",
        description="Published file: of scPerturb, or, about seven times the size, of the authors; both hold the same "
        "counts.",
    )


def load(
    info: DatasetInfo, layout: _published.Layout, params: Params, cache: Path, loaded: Size | None = None
) -> ad.AnnData:
    """Return a screen from the file asked for; see `_published.load`.

    Parameters
    ----------
    info, layout, params, cache
        As there.
    loaded
        What is kept of the file with these parameters, if not what `info` says.
    """
    expected = info if loaded is None else replace(info, loaded=loaded)
    return _published.load(expected, layout, params, cache, FILES.index(params.file))
