"""Which latents a perturbation moves: the model's word or one derived from its latents, on the axis of true factors."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from scident.errors import NotApplicable
from scident.metrics import _cells
from scident.metrics._assign import dead, match
from scident.metrics.base import Inputs, Member
from scident.types import Targets

FALSE_DISCOVERY_RATE = 0.05
SMALLEST_EFFECT = 0.5
"""Derived targets below this many within-condition standard deviations are off."""


def targets_of(inputs: Inputs, member: Member) -> Targets:
    """Return what the model says, else what its latents say; latents that do not vary score lowest and are off."""
    z, scored = _cells.latents(inputs, member)
    if member.targets is None:
        return _derived(inputs, z, scored)
    score = member.targets.score.astype(np.float64)
    _cells.finite(score, "targets")
    idle = dead(z)
    return Targets(np.where(idle, score.min(), score), member.targets.on & ~idle, member.targets.source)


def _derived(inputs: Inputs, z_fit: Float[np.ndarray, "fit latents"], z: Float[np.ndarray, "score latents"]) -> Targets:
    """Standardised distance of each perturbation's mean latents from the reference; on by Welch's t and effect size.

    Means are those of scored cells: the matching of latents is learned on the others, and a mean over the cells that
    chose the match would find targets in noise. The unit is the within-condition sd of the cells to learn on.
    Reference are the controls, or all cells where there are none. Perturbations without two cells get score 0, off.
    """
    n_perts = len(inputs.perturbations)
    label = inputs.obs["perturbation"].cat.codes.to_numpy(dtype=np.int64)[inputs.score]
    condition = np.unique(_cells.conditions(inputs)[inputs.fit], return_inverse=True)[1]
    n_conditions = int(condition.max()) + 1
    control = inputs.obs["is_control"].to_numpy(dtype=bool)[inputs.score]
    reference = z[control] if control.sum() > 1 else z

    count = np.bincount(label, minlength=n_perts)[:, None].astype(np.float64)
    mean = _cells.group_means(z, label, n_perts)
    variance = _cells.group_means((z - mean[label]) ** 2, label, n_perts) * count / np.maximum(count - 1, 1)
    inner = (z_fit - _cells.group_means(z_fit, condition, n_conditions)[condition]) ** 2
    sd = np.sqrt(inner.sum(axis=0) / max(len(z_fit) - n_conditions, 1))

    idle = dead(z_fit)
    floor = np.where(idle, 1.0, 1e-8 * z_fit.std(axis=0))  # a latent that only knows the label has no spread inside one
    distance = mean - reference.mean(axis=0)
    scored = (count > 1) & ~idle & (np.bincount(label[control], minlength=n_perts)[:, None] == 0)
    effect = np.where(scored, np.abs(distance) / np.maximum(sd, floor), 0.0)
    p = _welch(distance, variance / np.maximum(count, 1), count, reference, floor)
    p[scored] = stats.false_discovery_control(p[scored]) if scored.any() else p[scored]
    on = scored & (p <= FALSE_DISCOVERY_RATE) & (effect >= SMALLEST_EFFECT)
    return Targets(effect, on, "derived")


def _welch(
    distance: Float[np.ndarray, "perts latents"],
    squared_error: Float[np.ndarray, "perts latents"],
    count: Float[np.ndarray, "perts 1"],
    reference: Float[np.ndarray, "reference latents"],
    floor: Float[np.ndarray, " latents"],
) -> Float[np.ndarray, "perts latents"]:
    """Two-sided p of Welch's t test of each perturbation's mean against the reference's."""
    squared_error = np.maximum(squared_error, floor**2 / np.maximum(count, 1))
    other = np.maximum(reference.var(axis=0, ddof=1), floor**2) / len(reference)
    total = squared_error + other
    freedom = total**2 / (squared_error**2 / np.maximum(count - 1, 1) + other**2 / (len(reference) - 1))
    return np.asarray(2 * stats.t.sf(np.abs(distance) / np.sqrt(total), freedom))


@dataclass(frozen=True)
class Aligned:
    """Target scores on the axis of the true factors, all K perturbations."""

    score: Float[np.ndarray, "perts factors"]
    on: Bool[np.ndarray, "perts factors"]
    true: Bool[np.ndarray, "perts factors"]
    factors: tuple[int, ...]
    """Columns of the truth that vary, in the order of the second axis."""
    source: str


def aligned(inputs: Inputs, *, signed: bool = False) -> Aligned:
    """Bring the member's targets onto the true factors by the matching of its latents (never of its targets).

    A factor without a partner gets the lowest score and is off. `signed` maximises the signed correlation, as the
    released code does: half of the matches are then wrong for latents recovered up to sign.

    Raises
    ------
    NotApplicable
        There is no truth (``no_truth``) or too few cells.
    """
    factors_fit, factors_score = _cells.truth(inputs)
    if inputs.targets_true is None:
        raise NotApplicable("no_truth")
    found = targets_of(inputs, inputs.member)
    constant = dead(factors_fit) | dead(factors_score)
    kept = np.flatnonzero(~constant)
    partner = match(factors_fit[:, kept], inputs.member.z[inputs.fit].astype(np.float64), signed=signed).partner
    score = np.where(partner >= 0, found.score[:, partner], found.score.min())
    on = np.where(partner >= 0, found.on[:, partner], False)
    return Aligned(score, on, inputs.targets_true[:, kept], tuple(kept.tolist()), found.source)


@dataclass(frozen=True)
class Pooled:
    """Entries (perturbation × factor) pooled over the rows that count."""

    score: Float[np.ndarray, " entries"]
    on: Bool[np.ndarray, " entries"]
    true: Bool[np.ndarray, " entries"]
    rows: int
    variant: str
    note: str


def pooled(inputs: Inputs) -> list[Pooled]:
    """Return the entries of variant `corrected` and, on scope insample, of variant `released`.

    `corrected`: absolute matching, perturbations with training cells. `released`: signed matching, all K rows with
    the held-out ones as the model leaves them.
    """
    if inputs.z_true is None or inputs.targets_true is None:
        raise NotApplicable("no_truth")
    if inputs.scope == "ood":
        raise NotApplicable("split_undefined")
    everything = np.ones(len(inputs.perturbations), dtype=bool)
    versions = [("corrected", aligned(inputs), inputs.trained)]
    if inputs.scope == "insample":
        versions.append(("released", aligned(inputs, signed=True), everything))
    return [_pool(table, rows, variant) for variant, table, rows in versions]


def _pool(table: Aligned, rows: Bool[np.ndarray, " perts"], variant: str) -> Pooled:
    true = table.true[rows].ravel()
    if not true.any():
        raise NotApplicable("no_targets")
    note = f"score_source={table.source}, base_rate={true.mean():.3f}"
    return Pooled(table.score[rows].ravel(), table.on[rows].ravel(), true, int(rows.sum()), variant, note)
