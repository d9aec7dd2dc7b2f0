"""The nine statements about blocks and labels that a factorised model makes, and what tests of them share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from scident.errors import NotApplicable
from scident.metrics import _assign, _blocks, _cells, _ridge
from scident.metrics.base import Inputs

ALPHA = 0.05


@dataclass(frozen=True)
class Hypothesis:
    """Whether `u` and `v` are independent within every value of the labels `given`."""

    name: str
    u: str
    v: str
    given: str
    """Labels whose values are the strata: x (context), t (perturbation), x+t, or nothing."""
    independent: bool
    """What the model says; False: dependent."""


HYPOTHESES = (
    Hypothesis("z_x-t|x", "z_x", "t", "x", True),
    Hypothesis("z_t-x|t", "z_t", "x", "t", True),
    Hypothesis("z_x-z_tx|x", "z_x", "z_tx", "x", True),
    Hypothesis("z_t-z_tx|t", "z_t", "z_tx", "t", True),
    Hypothesis("z_x-z_t|x+t", "z_x", "z_t", "x+t", True),
    Hypothesis("z_tx-t|x", "z_tx", "t", "x", False),
    Hypothesis("z_tx-x|t", "z_tx", "x", "t", False),
    Hypothesis("z_t-t", "z_t", "t", "", False),
    Hypothesis("z_x-x", "z_x", "x", "", False),
)
"""After the graph x → z_x, x → z_tx ← t, t → z_t (Mao et al. 2024, arXiv:2410.22472)."""


@dataclass(frozen=True)
class Cells:
    """Blocks, labels and strata of the cells to score."""

    blocks: dict[str, Float[np.ndarray, "cells columns"]]
    """``z_x``, ``z_tx``, ``z_t``: columns of sd 1 on the cells to learn on, without those that do not vary."""
    labels: dict[str, Int[np.ndarray, " cells"]]
    """``x`` and ``t``, counted from 0 without gaps."""
    strata: dict[str, Int[np.ndarray, " cells"]]

    def check(self, hypothesis: Hypothesis) -> None:
        """Refuse a hypothesis about something that does not vary."""
        for name in (hypothesis.u, hypothesis.v):
            if name in self.labels and self.labels[name].max() == 0:
                raise NotApplicable("one_context" if name == "x" else "one_perturbation")
            if name in self.blocks and not self.blocks[name].shape[1]:
                raise NotApplicable("constant_block")


def cells_of(inputs: Inputs) -> Cells:
    """Return what hypotheses speak of, for the cells to score."""
    z_fit, z = _cells.latents(inputs, inputs.member)
    columns = _blocks.columns(inputs.member.blocks)
    varying = ~(_assign.dead(z_fit) | _assign.dead(z))
    z = _ridge.standardise(z_fit, z)[1]
    codes = {"x": _cells.contexts(inputs), "t": _cells.perturbations(inputs), "x+t": _cells.conditions(inputs)}
    strata = {name: np.unique(code[inputs.score], return_inverse=True)[1] for name, code in codes.items()}
    return Cells(
        {f"z_{block}": z[:, places[varying[places]]] for block, places in columns.items()},
        {name: strata[name] for name in ("x", "t")},
        strata | {"": np.zeros(len(z), dtype=np.int64)},
    )


def holm(p: Sequence[float]) -> Float[np.ndarray, " tests"]:
    """Adjust p values for several tests by Holm's step-down rule (Holm 1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, (len(p) - np.arange(len(p))) * np.asarray(p)[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted
