"""Loops over numbers, compiled for the processor they run on when first called."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any


def loop(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """Return a function of arrays and numbers as machine code.

    Compiling takes seconds, so the code is kept beside the function's file, or else in the user's cache folder, under a
    name that holds a digest of this package's sources; where neither can be written, each process compiles anew.

    Parameters
    ----------
    function
        What numba can compile; arrays are not checked for bounds and nothing is divided by zero without an infinity.
    how
        Further options of numba.
    """
    import numba  # slow to import

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"} | how
    function.__qualname__ += f"_{_sources()}"  # numba itself would look at this function's file alone
    try:
        compiled: Callable[..., Any] = numba.njit(function, cache=True, **options)
    except RuntimeError:  # numba found no folder for the code
        compiled = numba.njit(function, **options)
    return compiled


@cache
def _sources() -> str:
    content = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content.update(path.read_bytes())
    return content.hexdigest()[:16]
