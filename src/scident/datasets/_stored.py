"""Parts of an h5ad file, read one at a time."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import h5py
import pandas as pd

from scident.errors import ConfigError, DataError


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an h5ad file; whatever is wrong with its content inside the block becomes one sentence that names the file.

    Raises
    ------
    ConfigError, DataError
        There is no such file, it is not h5ad, or the block found it unusable, as it is or as it is asked for.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    try:
        with h5py.File(path, "r") as file:
            missing = {"obs", "var", "X"} - set(file)
            if missing:
                raise DataError(f"HDF5 without {sorted(missing)}, so not AnnData with counts; get the published file")
            yield file
    except (ConfigError, DataError) as error:
        raise type(error)(f"{path}: {error}") from error
    except (OSError, KeyError, IndexError, ValueError, RuntimeError) as error:
        cause = str(error.args[0]).splitlines()[0] if error.args else type(error).__name__
        raise DataError(f"{path}: not a readable h5ad file ({cause}); remove it and get it again") from error


def table(file: h5py.File, name: str) -> pd.DataFrame:
    """Return obs or var."""
    with warnings.catch_warnings():
        # old encodings are read all the same
        warnings.simplefilter("ignore", category=UserWarning)
        warnings.simplefilter("ignore", category=FutureWarning)
        warnings.simplefilter("ignore", category=PendingDeprecationWarning)
        try:
            found = ad.io.read_elem(file[name])
        except (TypeError, AttributeError) as error:
            raise DataError(f"{name} cannot be read ({error}); remove the file and get it again") from error
    if not isinstance(found, pd.DataFrame):
        raise DataError(f"{name} is not a table but {type(found).__name__}; get the published file")
    found.index = found.index.astype(str)
    return found
