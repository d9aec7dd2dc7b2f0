"""Loops over numbers, compiled for the processor they run on when first called."""

from collections.abc import Callable
from typing import Any


def loop(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """Return a function of arrays and numbers as machine code.

    Compiling takes seconds, so the code is kept beside the function's file, or else in the user's cache folder, and is
    made again when that file or the processor is another; where neither can be written, each process compiles anew.

    Parameters
    ----------
    function
        What numba can compile; arrays are not checked for bounds and nothing is divided by zero without an infinity.
    how
        Further options of numba.
    """
    import numba  # slow to import

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"} | how
    try:
        compiled: Callable[..., Any] = numba.njit(function, cache=True, **options)
    except RuntimeError:  # numba found no folder for the code
        compiled = numba.njit(function, **options)
    return compiled
