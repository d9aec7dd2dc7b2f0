"""Stratified HSIC: are blocks and labels as independent, and as dependent, as a factorised model says?

``z_x-t|x`` asks whether the block z_x is independent of the perturbation t within every context x. Its variant ``p`` is
the p value of a permutation test within strata, ``p_holm`` the same adjusted for the nine tests of this member,
``ratio`` the statistic over its mean under independence (about 1 if independent), ``effect`` the normalised HSIC.

With enough cells every test rejects, so compare effects, not p values: the largest one where the model says
independent, the smallest where it says dependent. Encoders that read the labels depend on them without knowing more.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _hsic
from scident.metrics._independence import ALPHA, HYPOTHESES, Cells, Hypothesis, cells_of, holm
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Stratified HSIC",
    source="Gretton et al. 2005, ALT; Gretton et al. 2007, NIPS; hypotheses of Mao et al. 2024, NeurIPS",
    formula="T = sum over strata of n_s/n tr(KHLH)/n_s², Gaussian kernels; effect = T / sqrt(T(u,u) T(v,v))",
    needs=("latents", "blocks", "labels"),
    range=(0.0, 1e999),
    better="neither",
    invariant_to=("permutation", "sign", "scale", "affine"),
    stochastic=True,
    tier="full",
    scopes=("iid", "insample"),
    variants=(
        "independent:largest_effect",
        "dependent:smallest_effect",
        "independent:rejected",
        "dependent:rejected",
        "{z_x-t|x,z_t-x|t,z_x-z_tx|x,z_t-z_tx|t,z_x-z_t|x+t,z_tx-t|x,z_tx-x|t,z_t-t,z_x-x}:{p,p_holm,ratio,effect}",
    ),
    shown=("independent:largest_effect", "dependent:smallest_effect"),
    companions=True,
)

MIN_STRATUM = 20
"""Strata with fewer cells are left out."""


class Params(PluginParams):
    """Size of the test."""

    permutations: int = Field(1000, ge=19, description="Permutations within strata behind each p value.")
    cells_per_stratum: int = Field(500, ge=20, description="Most cells of a stratum.")
    subsamples: int = Field(20, ge=2, description="Half samples behind the standard error of an effect.")


@dataclass(frozen=True)
class Test:
    """Outcome of one test."""

    p: float
    statistic: float
    ratio: float
    effect: float
    effect_se: float
    n: int


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Test all nine statements on ``inputs.score``; latents are standardised on ``inputs.fit``."""
    cells = cells_of(inputs)
    tests: dict[str, Test] = {}
    refused: dict[str, str] = {}
    for hypothesis, stream in zip(HYPOTHESES, rng.spawn(len(HYPOTHESES)), strict=True):
        try:
            tests[hypothesis.name] = _test(cells, hypothesis, params, stream)
        except NotApplicable as refusal:
            refused[hypothesis.name] = refusal.reason
    if not tests:
        raise NotApplicable(next(iter(refused.values())))
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    values = _summary(tests, adjusted)
    for name, test in tests.items():
        said = f"T={test.statistic:.3g}"
        values += [
            Value(test.p, n=test.n, variant=f"{name}:p", note=said),
            Value(float(adjusted[name]), n=test.n, variant=f"{name}:p_holm"),
            Value(test.ratio, n=test.n, variant=f"{name}:ratio"),
            Value(test.effect, test.effect_se, test.n, variant=f"{name}:effect"),
        ]
    missing = [(f"{name}:{part}", why) for name, why in refused.items() for part in ("p", "p_holm", "ratio", "effect")]
    return values + [Value(0.0, variant=variant, missing=why) for variant, why in missing]


def _summary(tests: dict[str, Test], adjusted: dict[str, np.floating]) -> list[Value]:
    """Return the effect furthest from what the model says, and how many tests reject independence."""
    values = []
    for says, extreme in (("independent", "largest"), ("dependent", "smallest")):
        names = [h.name for h in HYPOTHESES if h.name in tests and h.independent == (says == "independent")]
        if not names:
            variants = (f"{says}:{extreme}_effect", f"{says}:rejected")
            values += [Value(0.0, variant=variant, missing="no_test") for variant in variants]
            continue
        worst = (max if extreme == "largest" else min)(names, key=lambda name: tests[name].effect)
        found, rejected = tests[worst], sum(bool(adjusted[name] < ALPHA) for name in names)
        variant = f"{says}:{extreme}_effect"
        values.append(Value(found.effect, found.effect_se, found.n, variant=variant, note=worst))
        note = f"of {len(names)} tests, Holm, {ALPHA:g}"
        values.append(Value(rejected, n=found.n, variant=f"{says}:rejected", note=note))
    return values


def _test(cells: Cells, hypothesis: Hypothesis, params: Params, rng: np.random.Generator) -> Test:
    """Test one statement; every stratum is centred and permuted by itself."""
    cells.check(hypothesis)
    draw, permute, halve = rng.spawn(3)
    strata = _strata(cells.strata[hypothesis.given], params.cells_per_stratum, draw)
    n = sum(len(rows) for rows in strata)
    null = np.zeros(1 + params.permutations)
    moments, halves = np.zeros(3), np.zeros((params.subsamples, 3))
    for rows in strata:
        u = _kernel(cells, hypothesis.u, rows)
        v = _kernel(cells, hypothesis.v, rows)
        orders = permute.permuted(np.tile(np.arange(len(rows)), (len(null), 1)), axis=1)
        orders[0] = np.arange(len(rows))  # the statistic itself, computed as its null is
        label = cells.labels.get(hypothesis.v)
        k, m = _hsic.centred(u), _hsic.centred(v)
        found = _hsic.null(k, m, orders) if label is None else _hsic.null_of_labels(k, label[rows], orders)
        null += len(rows) / n * found
        moments += len(rows) / n * _moments(k, m)
        for number in range(params.subsamples):
            half = halve.permutation(len(rows))[: len(rows) // 2]
            part = np.ix_(half, half)
            halves[number] += len(rows) / n * _moments(_hsic.centred(u[part]), _hsic.centred(v[part]))
    p = (1 + int((null[1:] >= null[0]).sum())) / len(null)
    effects = _effect(halves)
    mean = max(float(null[1:].mean()), 1e-300)
    # The spread of a statistic over halves drawn without replacement is that of the whole sample.
    statistic = float(null[0])
    return Test(p, statistic, statistic / mean, float(_effect(moments)), float(effects.std(ddof=1)), n)


def _strata(label: Int[np.ndarray, " cells"], most: int, rng: np.random.Generator) -> list[Int[np.ndarray, " stratum"]]:
    groups = [np.flatnonzero(label == level) for level in range(label.max() + 1)]
    strata = [rng.permutation(rows)[:most] for rows in groups if len(rows) >= MIN_STRATUM]
    if not strata:
        raise NotApplicable("too_few_cells")
    return strata


def _kernel(cells: Cells, name: str, rows: Int[np.ndarray, " stratum"]) -> _hsic.Kernel:
    return _hsic.delta(cells.labels[name][rows]) if name in cells.labels else _hsic.gaussian(cells.blocks[name][rows])


def _moments(k: _hsic.Kernel, m: _hsic.Kernel) -> Float[np.ndarray, " 3"]:
    """Return HSIC of both, of the one with itself and of the other with itself."""
    return np.array([_hsic.hsic(k, m), _hsic.hsic(k, k), _hsic.hsic(m, m)])


def _effect(moments: Float[np.ndarray, "*draws 3"]) -> Float[np.ndarray, "*draws"]:
    """Return normalised HSIC, in [0, 1]; 0 where one side does not vary."""
    both, one, other = np.moveaxis(moments, -1, 0)
    scale = np.sqrt(np.maximum(one * other, 0.0))
    return np.asarray(np.clip(np.divide(both, scale, out=np.zeros_like(both), where=scale > 0), 0.0, 1.0))
