"""What a metric gets and gives.

A metric is one file with ``info = MetricInfo(...)``, ``class Params(BaseModel)`` and
``score(inputs, params, rng) -> list[Value]``. It may raise `NotApplicable`. Anything it learns (assignment, signs,
scales, regressors, thresholds) it learns on ``inputs.fit`` and reports on ``inputs.score``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from scident.types import Factors, Latents, Likelihood, Predictions, Scope, TargetMask, Targets

SCOPES: dict[Scope, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "iid": (("fit",), ("score",)),
    "ood": (("fit",), ("heldout_score",)),
    "insample": (("train", "val"), ("train", "val")),
    "val": (("val",), ("val",)),
}
"""Scope -> (parts a metric learns on, parts it scores). Under ``protocol: released`` scope ood learns on train and
val, since that protocol cuts no ``fit`` part."""

SCOPES_OF_PROTOCOL: dict[str, tuple[Scope, ...]] = {
    "heldout": ("iid", "ood", "val"),
    "released": ("insample", "ood", "val"),
}
"""Protocol of the split -> scopes that have rows: first the one latents are matched on and the first two are shown."""

PREDICTED: tuple[Scope, ...] = ("iid", "ood")
"""Scopes on which predictions are scored."""

FITTED_UNDER = {"heldout": "finetuned_half", "released": "finetuned_insample"}
"""Protocol of the split -> how models that adapt are fitted to held-out perturbations (`HELDOUT_PROTOCOLS`)."""

MIN_CELLS = 50
"""Fewer cells than this to fit on or to score: ``not_applicable:too_few_cells``."""


@dataclass(frozen=True)
class Value:
    """One number of a metric."""

    value: float
    se: float | None = None
    """Standard error of `value` given the trained model, same unit; None where none is defined."""
    n: int = 0
    """How many cells (or pairs, or perturbations) the number rests on."""
    perturbation: str | None = None
    """None: aggregated."""
    variant: str = ""
    note: str = ""
    """Written to the row's ``reason`` although the status is ok (for example the source of target scores)."""
    missing: str = ""
    """Why this variant alone does not apply (the row is then ``not_applicable:<missing>`` and `value` is not read)."""
    failed: str = ""
    """Why this variant alone failed (the row is then ``failed:<failed>`` and `value` is not read)."""


@dataclass(frozen=True)
class Member:
    """Outputs of one trained member, rows aligned with ``Inputs.obs``."""

    replicate: int
    grid_point: str
    seed: int
    z: Latents
    """Without columns if the model gives no latents."""
    targets: Targets | None = None
    likelihood: Mapping[str, Likelihood] = field(default_factory=dict)
    """Protocol -> bounds of all cells, NaN where not computed: "" is the trained model with the labels it was trained
    on, the others (`scident.info.HELDOUT_PROTOCOLS`) are of held-out cells."""
    label_conditioned: bool = False
    adapts: bool = False
    retrained: str = "no"
    """What came of the second training, whose model is scored on held-out cells: no, ok or failed:reason."""
    blocks: tuple[str, ...] | None = None
    """Block of each latent (x, tx or t); None: the model has no blocks."""
    predictions: Predictions | None = None
    """Mean expression predicted for scored conditions, genes as in ``Inputs.expression``."""


@dataclass(frozen=True)
class Expression:
    """What was observed of each treated condition of one scope, means over cells of log-normalised expression.

    All cells of the scope's parts count, not only the drawn ones of ``Inputs.score``.
    """

    obs: pd.DataFrame
    """The condition of each row, as text: perturbation, context and, where a dataset has it, dose."""
    genes: tuple[str, ...]
    cells: Int[np.ndarray, " conditions"]
    mean: Float[np.ndarray, "conditions genes"]
    sd: Float[np.ndarray, "conditions genes"]
    """Over the cells of a condition."""
    control: Float[np.ndarray, "conditions genes"]
    """Mean of the seen control cells of the condition's context; NaN where it has none."""
    control_variance: Float[np.ndarray, "conditions genes"]
    """Sampling variance of `control`."""
    centroid: Float[np.ndarray, "conditions genes"]
    """Mean over the means of training perturbations of the context, of all contexts if it has none; NaN without any."""
    panel: Bool[np.ndarray, "conditions genes"]
    """The genes that change most, chosen on other cells than the scored ones; a row without any: none to choose on."""


@dataclass(frozen=True)
class Inputs:
    """Everything a metric may look at for one replicate, one scope and one member (or all seeds of a grid point)."""

    scope: Scope
    obs: pd.DataFrame
    """All cells: perturbation (categorical with all K names), context (str), is_control (bool), part (str)."""
    fit: Int[np.ndarray, " fit"]
    """Rows of `obs` a metric learns on."""
    score: Int[np.ndarray, " score"]
    """Rows of `obs` a metric reports on."""
    perturbations: tuple[str, ...]
    """All K names, in the order of every perturbation axis."""
    trained: Bool[np.ndarray, " perts"]
    """Which perturbations have training cells."""
    members: tuple[Member, ...]
    z_true: Factors | None = None
    shift: Float[np.ndarray, "perts factors"] | None = None
    targets_true: TargetMask | None = None
    blocks_true: tuple[str, ...] | None = None
    """Block of each true latent; None: they have no blocks."""
    seeds: tuple[int, ...] = field(default=())
    """Seeds the configuration asks for; members of failed seeds are missing."""
    protocol: str = "heldout"
    """Of the split: heldout or released."""
    expression: Expression | None = None
    """None: no configured metric needs predictions, or the scope scores no treated cells."""

    @property
    def member(self) -> Member:
        """The only member (metrics with ``over="member"``)."""
        (only,) = self.members
        return only
