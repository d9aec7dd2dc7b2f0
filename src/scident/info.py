"""What a plug-in declares about itself.

Every plug-in file holds ``info = <Kind>Info(...)`` with literal arguments only, so that the registry can read it
without importing the file (and whatever heavy library the file needs).
"""

import re
from dataclasses import dataclass
from itertools import product

from scident.types import Role, Scope


@dataclass(frozen=True, kw_only=True)
class Info:
    """What every kind of plug-in declares."""

    label: str
    """Name shown in tables and figures, in the paper's spelling."""
    source: str
    """Where it comes from: author, year, venue, identifier."""


@dataclass(frozen=True)
class File:
    """A file of a real dataset, and where to get it."""

    name: str
    """Its name in the cache."""
    urls: tuple[str, ...]
    """Addresses in order of preference; all give the same bytes."""
    bytes: int | None = None
    """Size; None: nobody said it."""
    md5: str = ""
    """As published, hexadecimal; empty: none was."""
    sha256: str = ""
    """As published, hexadecimal; empty: none was."""
    verified: bool = True
    """False: size or checksum stand in one place only and may be wrong."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a published file calls the columns of the data contract: names to try in turn; none: it has no such column.

    Every column that is named must be there; what `DatasetInfo.unverified` lists is missed with a warning only.
    """

    perturbation: tuple[str, ...] = ("perturbation",)
    control: str = "control"
    """The label of unperturbed cells, once labels are cleaned."""
    context: tuple[str, ...] = ()
    dose: tuple[str, ...] = ()
    batch: tuple[str, ...] = ()
    gene: tuple[str, ...] = ()
    """Column of var with the gene symbols; none, or not there: the index."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much there is of a dataset; None: not known, so not checked."""

    cells: int | None = None
    genes: int | None = None
    perturbations: int | None = None
    """Cleaned labels other than the control."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo(Info):
    """A real dataset."""

    licence: str = "see source"
    organism: str = "see source"
    gives_truth: bool = False
    """True: ``load`` always returns true latents; a file that may have them says so by a parameter ``truth``."""
    doi: str = ""
    files: tuple[File, ...] = ()
    """What it is downloaded from, the default first; none: nothing is downloaded."""
    columns: Columns = Columns()
    stored: Size = Size()
    """What the published file holds."""
    loaded: Size = Size()
    """What ``load`` keeps of it with default parameters."""
    good_for: str = ""
    """What can be learned from it, in a few words."""
    unverified: tuple[str, ...] = ()
    """Which of cells, genes, perturbations, control, context, dose, batch, licence two independent sources did not
    confirm: a file that differs there is loaded with a warning, one that differs elsewhere is refused."""
    note: str = ""
    """What a user of it must know."""


@dataclass(frozen=True, kw_only=True)
class SimulatorInfo(Info):
    """A generative process whose latents are known."""

    gives_blocks: bool = False
    """True: its latents have blocks (x, tx, t)."""


@dataclass(frozen=True, kw_only=True)
class SplitInfo(Info):
    """A rule that says which conditions are held out."""

    whole: bool = True
    """False: of conditions that training sees, some cells are held out; they are new cells, not new conditions."""
    paired: bool = False
    """True: entries of this file draw the same random numbers in a replicate, so that a series of them differs by its
    parameters alone."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo(Info):
    """A method, a baseline or a control."""

    role: Role
    gives: tuple[str, ...]
    """Which of latents, targets, predictions, likelihood, graph it produces."""
    stochastic: bool = True
    """False: fitted once and written under every seed."""
    light: bool = False
    """True: seconds per member, so the job is never cut into shards."""
    label_conditioned: bool = False
    """True: the likelihood depends on the perturbation label, so it is undefined for a label never trained on."""
    adapts: bool = False
    """True: what it lacks for a perturbation never trained on can be fitted to some of its cells (`Model.adapt`)."""
    identifiability: str = "none"
    """Indeterminacy the model claims to leave: component, affine, block or none."""
    assumes: str = "nothing"
    """What must hold for that claim, in one line."""
    likelihood: str = "none"
    """Observation model of the counts."""
    licence: str = "BSD-3-Clause"
    of: str = ""
    """File of the model that this one is an ablation of; both are compared pair by pair."""
    note: str = ""
    """What a reader of its scores must know, such as how a penalty was chosen; printed beside them."""
    needs_blocks: bool = False
    """True: a positive control that has nothing to say where the true latents have no blocks."""

    @property
    def reads_truth(self) -> bool:
        """Whether it is a positive control of latents; one of predictions is given observed cells instead."""
        return self.role == "positive_control" and self.gives != ("predictions",)


@dataclass(frozen=True, kw_only=True)
class MetricInfo(Info):
    """A score."""

    formula: str
    """The quantity in one line of plain mathematics."""
    needs: tuple[str, ...]
    """Which of latents, truth, blocks, targets, likelihood, predictions, labels it reads; `NotApplicable` where one is
    missing."""
    range: tuple[float, float]
    better: str
    """higher, lower or neither."""
    no_skill: float | None = None
    """Value expected without skill, where theory gives one."""
    ceiling: float | None = None
    """Best possible value, where theory gives one."""
    invariant_to: tuple[str, ...] = ()
    """Changes of the estimated latents that leave the value as it is: permutation, sign, scale, affine, monotone (each
    of one latent), linear (any invertible map)."""
    stochastic: bool = False
    tier: str = "fast"
    over: str = "member"
    """member: one value per member; seeds: one value from all members of one replicate and grid point."""
    scopes: tuple[Scope, ...] = ("iid", "ood", "insample")
    variants: tuple[str, ...] = ("",)
    """Every variant it reports, so that a failure is a row of each; ``released`` exists on scope insample alone. Braces
    name several: ``{x,t}:{p,q}`` is x:p, x:q, t:p, t:q."""
    shown: tuple[str, ...] = ()
    """Variants with a column of their own in the table of all scores; none named: all of them."""
    companions: bool = False
    """True: also computed from the latents a model of labels gives without reading expression (`Model.companions`), as
    variants ``<variant>:<companion>``."""

    def __post_init__(self) -> None:
        for field in ("variants", "shown"):
            object.__setattr__(self, field, tuple(n for pattern in getattr(self, field) for n in expanded(pattern)))

    def variants_on(self, scope: Scope) -> tuple[str, ...]:
        """Return the variants that have a row on this scope."""
        protocols = [name for name in self.variants if name in HELDOUT_PROTOCOLS]
        if scope == "ood" and protocols:
            return tuple(protocols)
        left = [name for name in self.variants if name not in protocols]
        return tuple(name for name in left if name != "released" or scope == "insample")


def expanded(pattern: str) -> list[str]:
    """Return every name a pattern with braces stands for, the last brace running fastest."""
    parts = [part.split(",") for part in re.split(r"[{}]", pattern)]
    choices = [part if number % 2 else [",".join(part)] for number, part in enumerate(parts)]
    return ["".join(names) for names in product(*choices)]


HELDOUT_PROTOCOLS = ("zero_shot", "finetuned_half", "finetuned_insample")
"""How a likelihood of held-out perturbations came about (metrics.md §2e): nothing fitted to them; fitted on half of
their cells and scored on the rest; fitted on the scored cells, as published. Variants of these names exist on scope ood
alone."""
