"""Agreement of clusters or neighbourhoods with labels, per block, and what a factorised model expects of it."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from scident.errors import NotApplicable
from scident.metrics import _assign, _blocks, _cells, _clusters, _ridge
from scident.metrics.base import Inputs, Value

CELLS = 5000
"""Most cells clustered, equal for all methods."""

SHUFFLES = 19
"""A verdict compares with the largest of so many values under shuffled labels: a test at 5 %."""

ABOVE = {
    ("x", "context"): True,
    ("x", "perturbation"): False,
    ("t", "context"): False,
    ("t", "perturbation"): True,
    ("t", "joint"): True,
    ("tx", "context"): True,
    ("tx", "perturbation"): True,
    ("tx", "joint"): True,
}
"""Block and label -> whether the block should tell the label better than shuffled labels do (metrics.md §2d)."""

LONE = {"context": "one_context", "perturbation": "one_perturbation", "joint": "one_condition"}
"""Why a label of one level cannot be agreed with."""

GIVEN = {"context": "perturbation", "perturbation": "context"}
"""Label -> the label within which it is shuffled: where pairs are missing the two tell something of each other."""

Labels = Int[np.ndarray, " cells"]
Agreement = Callable[[Labels, Labels], float]


def latents(
    inputs: Inputs, *, scale: bool = True
) -> tuple[dict[str, Float[np.ndarray, "cells columns"] | str], dict[str, Labels]]:
    """Return each block and the whole latent (``all``) of the cells clustered, and their labels, counted from 0.

    Columns that do not vary are left out; with `scale` the others have sd 1 on the cells to learn on. A text stands
    where there is no block.
    """
    z_fit, z = _cells.latents(inputs, inputs.member)
    rows = _cells.drawn(len(z), CELLS, np.random.default_rng(_clusters.SEED))
    varying = ~(_assign.dead(z_fit) | _assign.dead(z))
    z = (_ridge.standardise(z_fit, z)[1] if scale else z)[rows]
    try:
        places = dict(_blocks.columns(inputs.member.blocks))
    except NotApplicable:
        places = {}
    blocks: dict[str, Float[np.ndarray, "cells columns"] | str] = {}
    for block in ("all", *_blocks.BLOCKS):
        here = np.arange(z.shape[1]) if block == "all" else places.get(block)
        if here is None:
            blocks[block] = "no_blocks"
        else:
            blocks[block] = z[:, here[varying[here]]] if varying[here].any() else "constant_block"
    codes = {
        "context": _cells.contexts(inputs),
        "perturbation": _cells.perturbations(inputs),
        "joint": _cells.conditions(inputs),
    }
    chosen = inputs.score[rows]
    return blocks, {name: np.unique(code[chosen], return_inverse=True)[1] for name, code in codes.items()}


def agreement(inputs: Inputs, variants: tuple[str, ...], measure: Agreement, rng: np.random.Generator) -> list[Value]:
    """Return how well clusters of each block agree with each label.

    Parameters
    ----------
    inputs
        A member with or without blocks.
    variants
        ``x:context`` is the block x, Leiden at resolution 1, against the context; ``:kmeans``, ``:0.25`` and so on say
        otherwise; ``:as_expected`` is whether the block tells the label as a factorised model says, 1 or 0.
    measure
        Labels, clusters -> agreement.
    rng
        Shuffles labels for the verdicts.
    """
    blocks, labels = latents(inputs)
    values = []
    for variant in variants:
        block, name, *rest = variant.split(":")
        z, label, how = blocks[block], labels[name], rest[0] if rest else "1"
        if isinstance(z, str) or not label.max():
            values.append(Value(0.0, variant=variant, missing=z if isinstance(z, str) else LONE[name]))
            continue
        if how == "as_expected":
            found = _clusters.leiden(z)[1.0]
            null = [measure(shuffled(labels, name, rng), found) for _ in range(SHUFFLES)]
            values.append(verdict(variant, measure(label, found), null, len(z)))
            continue
        found = _clusters.kmeans(z, int(label.max()) + 1) if how == "kmeans" else _clusters.leiden(z)[float(how)]
        value = float(np.clip(measure(label, found), -1.0, 1.0))
        values.append(Value(value, n=len(z), variant=variant, note=f"n_clusters={found.max() + 1}"))
    return values


def shuffled(labels: dict[str, Labels], name: str, rng: np.random.Generator) -> Labels:
    """Return a label shuffled among the cells that share the one it is `GIVEN`; both together: among all cells."""
    label = labels[name]
    if name not in GIVEN:
        return rng.permutation(label)
    found = label.copy()
    for group in range(labels[GIVEN[name]].max() + 1):
        rows = np.flatnonzero(labels[GIVEN[name]] == group)
        found[rows] = label[rng.permutation(rows)]
    return found


def verdict(variant: str, found: float, null: list[float], cells: int) -> Value:
    """Return whether a value lies above all of its null where it should, and not above where it should not."""
    block, name, _ = variant.split(":")
    largest = max(null)
    note = f"value {found:.3f}, largest of {len(null)} with shuffled labels {largest:.3f}"
    return Value(float((found > largest) == ABOVE[block, name]), n=cells, variant=variant, note=note)
