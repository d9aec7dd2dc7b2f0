"""The loops of `kernels` as operators of PyTorch, which a graph may hold; they know no gradients of their own."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])

LIBRARY: Any = torch.library.Library("scident", "DEF")  # type: ignore[no-untyped-call]
LIBRARY.define("nb_forward(Tensor counts, Tensor logits) -> (Tensor, Tensor, Tensor, Tensor)")
LIBRARY.define(
    "nb_backward(Tensor counts, Tensor share, Tensor peaks, Tensor normaliser, Tensor log_library, Tensor r, "
    "Tensor outer) -> (Tensor, Tensor)"
)
LIBRARY.define("nb_varying(Tensor counts, Tensor logits, Tensor log_library, Tensor r) -> Tensor")
LIBRARY.define("nb_constant(Tensor counts, Tensor r) -> Tensor")

BLOCK = 32
"""Genes that `kernels` takes together; their rows of 128 cells fill half of a cache of 32 kB."""


def fits(counts: Tensor, r: Tensor, logits: Tensor | None = None, log_library: Tensor | None = None) -> bool:
    """Say whether there are loops for such tensors: in single precision, on a processor, none broadcast.

    Parameters
    ----------
    counts, logits
        [members, genes, cells].
    r, log_library
        [members, genes, 1] and [members, 1, cells].
    """
    members, genes, cells = counts.shape
    wanted = (members, genes, cells), (members, genes, 1), (members, genes, cells), (members, 1, cells)
    given = counts, r, logits, log_library
    return all(
        t is None or (t.shape == shape and t.dtype == torch.float32 and t.device.type == "cpu")
        for t, shape in zip(given, wanted, strict=True)
    )


def forward(counts: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
    """Return -Σ x log softmax(logits), [members, cells], and three tensors that `backward` wants.

    Parameters
    ----------
    counts, logits
        [members, genes, cells].
    """
    return _chosen("nb_forward", _forward)(counts, logits)


def backward(counts: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the negative log-likelihoods, those of r summed over cells.

    Parameters
    ----------
    counts
        [members, genes, cells].
    others
        The three tensors of `forward`, log_library [members, 1, cells], r [members, genes, 1], and the weights of the
        likelihoods, [members, cells].
    """
    return _chosen("nb_backward", _backward)(counts, *others)


def varying(counts: Tensor, logits: Tensor, log_library: Tensor, r: Tensor) -> Tensor:
    """Return what of log NB(counts) depends on the mean, nats: [members, cells].

    Parameters
    ----------
    counts, logits
        [members, genes, cells].
    log_library, r
        [members, 1, cells] and [members, genes, 1].
    """
    return _chosen("nb_varying", _varying)(counts, logits, log_library, r)


def constant(counts: Tensor, r: Tensor) -> Tensor:
    """Return what of log NB(counts) does not depend on the mean, nats: [members, cells], double.

    Parameters
    ----------
    counts, r
        [members, genes, cells] and [members, genes, 1].
    """
    return _chosen("nb_constant", _constant)(counts, r)


def _chosen(name: str, work: F) -> F:
    """Return the operator in a graph; elsewhere the work itself, some microseconds sooner."""
    chosen: F = getattr(torch.ops.scident, name) if torch.compiler.is_compiling() else work
    return chosen


def _forward_like(counts: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
    members, genes, cells = logits.shape
    sums = logits.new_empty(members, cells)
    peaks = logits.new_empty(members, (genes + BLOCK - 1) // BLOCK, cells)
    return sums, torch.empty_like(logits, memory_format=torch.contiguous_format), peaks, torch.empty_like(sums)


def _forward(counts: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
    loss, share, peaks, normaliser = found = _forward_like(counts, logits)
    _call("forward", logits.shape, counts, logits, share, peaks, normaliser, loss)
    return found


def _backward_like(counts: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(counts, memory_format=torch.contiguous_format), counts.new_empty(*counts.shape[:2], 1)


def _backward(
    counts: Tensor, share: Tensor, peaks: Tensor, normaliser: Tensor, log_library: Tensor, r: Tensor, outer: Tensor
) -> tuple[Tensor, Tensor]:
    to_logits, to_r = found = _backward_like(counts)
    given = counts, share, peaks, normaliser, log_library, r, outer
    _call("backward", counts.shape, *given, to_logits, to_r)
    return found


def _varying_like(counts: Tensor, logits: Tensor, log_library: Tensor, r: Tensor) -> Tensor:
    return logits.new_empty(logits.shape[0], logits.shape[2])


def _varying(counts: Tensor, logits: Tensor, log_library: Tensor, r: Tensor) -> Tensor:
    out = _varying_like(counts, logits, log_library, r)
    _call("varying", logits.shape, counts, logits, log_library, r, out)
    return out


def _constant_like(counts: Tensor, r: Tensor) -> Tensor:
    return counts.new_empty(counts.shape[0], counts.shape[2], dtype=torch.float64)


def _constant(counts: Tensor, r: Tensor) -> Tensor:
    out = _constant_like(counts, r)
    _call("constant", counts.shape, counts, r.double(), out)
    return out


def _call(name: str, shape: Sequence[int], *tensors: Tensor) -> None:
    from scident.engine import kernels  # slow to import

    alive = [t.contiguous() for t in tensors]
    kernels.CALLS[name](*shape, *(t.data_ptr() for t in alive))


for name, work, like in (
    ("nb_forward", _forward, _forward_like),
    ("nb_backward", _backward, _backward_like),
    ("nb_varying", _varying, _varying_like),
    ("nb_constant", _constant, _constant_like),
):
    LIBRARY.impl(name, work, "CPU")
    torch.library.register_fake(f"scident::{name}", like)
