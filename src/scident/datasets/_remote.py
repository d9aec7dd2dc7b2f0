"""The published file of a dataset, from the cache or from where it is published."""

from pathlib import Path

from scident.info import DatasetInfo


def fetched(info: DatasetInfo, cache: Path, file: int = 0) -> Path:
    """Return where a file of a dataset lies after its size and checksum were found right.

    Parameters
    ----------
    info
        The dataset's own.
    cache
        Folder for downloads.
    file
        Which of ``info.files``.

    Raises
    ------
    DataError
        It cannot be had; one sentence that says why and what to do.
    """
    from scident.download import fetch

    return fetch(info.files[file], cache)
