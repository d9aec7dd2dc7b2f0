"""What a network must know of the cells it is made for: sizes, contexts, the control, the blocks of its latents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from scident import contracts
from scident.errors import ConfigError, ScidentError
from scident.types import parts_of

BLOCKS = ("x", "tx", "t")
"""Blocks of latents in the order they stand in: context, interaction, perturbation (fcr.md §1)."""

CONTEXTS, CONTROL = "design.contexts", "design.control"
"""Names under which a state keeps what cells to embed may not show."""


@dataclass(frozen=True)
class Design:
    """The training cells as a network sees them."""

    n_genes: int
    n_latents: int
    n_perturbations: int
    contexts: tuple[str, ...]
    """Names of the contexts of the training cells; their order gives the codes."""
    observation: str
    """counts or normal, as `contracts.observation`."""
    control: int | None
    """Code of the control among the perturbations; None: no training cell is a control."""
    blocks: tuple[str, ...] | None
    """Block of each latent, in the order x, tx, t; None: the model has no blocks."""
    parts: tuple[tuple[int, ...], ...] = ()
    """Numbers of the single perturbations that each perturbation combines; none for the control."""

    @property
    def n_parts(self) -> int:
        """Number of single perturbations, alone or in combinations."""
        return 1 + max((part for parts in self.parts for part in parts), default=-1)

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return len(self.contexts)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of latents in the blocks x, tx and t."""
        d_x, d_tx, d_t = ((self.blocks or ()).count(block) for block in BLOCKS)
        return d_x, d_tx, d_t


def design_of(train: ad.AnnData, n_latents: int, blocks: tuple[str, ...] | None = None) -> Design:
    """Return the design of some training cells."""
    labels, control = train.obs["perturbation"].cat, train.obs["is_control"].to_numpy(dtype=bool)
    codes = np.unique(labels.codes[control])
    return Design(
        n_genes=train.n_vars,
        n_latents=n_latents,
        n_perturbations=len(labels.categories),
        contexts=tuple(sorted(set(context_names(train)))),
        observation=contracts.observation(train),
        control=int(codes[0]) if len(codes) else None,
        blocks=blocks,
        parts=_numbered(labels.categories, int(codes[0]) if len(codes) else None),
    )


def _numbered(labels: pd.Index, control: int | None) -> tuple[tuple[int, ...], ...]:
    """Return the numbers, in the order of their names, of the single perturbations that make up each label."""
    made_of = [() if code == control else parts_of(str(label)) for code, label in enumerate(labels)]
    number = {part: i for i, part in enumerate(sorted({part for parts in made_of for part in parts}))}
    return tuple(tuple(number[part] for part in parts) for parts in made_of)


def block_names(sizes: tuple[int, int, int] | None, n_latents: int) -> tuple[str, ...]:
    """Return the block of each latent.

    Parameters
    ----------
    sizes
        Latents of x, tx and t; None: thirds, what is left over to tx.
    n_latents
        Number of all latents.
    """
    third = n_latents // 3
    found = (third, n_latents - 2 * third, third) if sizes is None else sizes
    if sum(found) != n_latents:
        raise ConfigError(f"sizes are {found}, together {sum(found)}, but there are {n_latents} latents")
    return tuple(block for block, size in zip(BLOCKS, found, strict=True) for _ in range(size))


def context_names(cells: ad.AnnData) -> Shaped[np.ndarray, " cells"]:
    """Return the context of each cell as text."""
    names: np.ndarray = cells.obs["context"].astype(str).to_numpy(dtype=object)
    return names


def context_codes(cells: ad.AnnData, contexts: Sequence[str]) -> Int[np.ndarray, " cells"]:
    """Return the position of each cell's context among `contexts`.

    Raises
    ------
    ScidentError
        A context is not among them.
    """
    names = context_names(cells)
    codes: np.ndarray = pd.Index(contexts).get_indexer(pd.Index(names)).astype(np.int64)
    if (codes < 0).any():
        raise ScidentError(f"unknown contexts {sorted(set(names[codes < 0]))}; trained on {list(contexts)}")
    return codes


def remembered(design: Design) -> dict[str, np.ndarray]:
    """Return what `recalled` needs as arrays of numbers."""
    names = "\n".join(design.contexts).encode()
    control = -1 if design.control is None else design.control
    return {CONTEXTS: np.frombuffer(names, dtype=np.uint8).copy(), CONTROL: np.array(control)}


def recalled(
    state: Mapping[str, np.ndarray], cells: ad.AnnData, n_latents: int, blocks: tuple[str, ...] | None
) -> Design:
    """Return the design of the training cells from what a state remembers and the shape of any cells."""
    control = int(state[CONTROL])
    return Design(
        n_genes=cells.n_vars,
        n_latents=n_latents,
        n_perturbations=len(cells.obs["perturbation"].cat.categories),
        contexts=tuple(state[CONTEXTS].tobytes().decode().split("\n")),
        observation=contracts.observation(cells),
        control=None if control < 0 else control,
        blocks=blocks,
        parts=_numbered(cells.obs["perturbation"].cat.categories, None if control < 0 else control),
    )
