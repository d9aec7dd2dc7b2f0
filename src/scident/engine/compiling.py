"""Compiling functions of tensors, where a compiler works; without one everything runs as it is, only slower."""

import logging
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


OPTIONS = {"cpp.enable_floating_point_contract_flag": "fast", "size_asserts": False}
"""Multiply and add in one instruction; do not check sizes at each call."""


def compiled(function: F, isolated: bool = True) -> F:
    """Return `function` compiled, or as it is where no compiler works.

    A size met with a second value is made symbolic: at most three graphs serve a job whose members stop one by one.

    Parameters
    ----------
    function
        Of tensors; it draws no random numbers.
    isolated
        False: methods of other instances share their graphs with this one. True: what they met changes nothing here.
    """
    if not works():
        return function
    return torch.compile(function, options=OPTIONS, isolate_recompiles=isolated)  # type: ignore[call-overload,no-any-return] # lacks it


@cache
def works() -> bool:
    """Say whether a graph can be compiled here, by trying it once; if not, one line of the log says why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch imports what it deprecates
            torch.compile(_trial)(torch.ones(64))
    except Exception as error:  # noqa: BLE001 - a missing compiler, headers or libraries fail each in their own way
        log.warning("nothing can be compiled here, running eagerly: %s", str(error).splitlines()[0])
        return False
    return True


def _trial(x: Tensor) -> Tensor:
    return x.sin() + 1
