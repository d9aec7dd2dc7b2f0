"""RCIT: a second opinion on what stratified HSIC says, by random Fourier features and an approximate null.

Statements are those of `hsic_strat`. Its null is approximate, so each p value stands beside ``null_rejected``: the
share of simulations with one side permuted within strata, where the statement holds, that reject at 5 %. Needs
causal-learn (``pip install "scident[independence]"``).
"""

from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _assign
from scident.metrics._independence import ALPHA, HYPOTHESES, Cells, Hypothesis, cells_of, holm
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="RCIT",
    source="Strobl, Zhang & Visweswaran 2019, Journal of Causal Inference; causal-learn (Zheng et al. 2024, JMLR)",
    formula="n × squared norm of the partial covariance of random Fourier features; p by a mixture of chi squares",
    needs=("latents", "blocks", "labels"),
    range=(0.0, 1.0),
    better="neither",
    stochastic=True,
    tier="full",
    scopes=("iid",),
    variants=(
        "{z_x-t|x,z_t-x|t,z_x-z_tx|x,z_t-z_tx|t,z_x-z_t|x+t,z_tx-t|x,z_tx-x|t,z_t-t,z_x-x}:{p,p_holm,null_rejected}",
    ),
    shown=("z_x-z_t|x+t:p_holm",),
)


class Params(PluginParams):
    """Size of the test."""

    cells: int = Field(1000, ge=50, le=1000, description="Most cells.")
    null_simulations: int = Field(20, ge=1, description="Permutations within strata behind each null rejection rate.")


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Test all nine statements on cells of ``inputs.score``."""
    cells = cells_of(inputs)
    library = _library()
    draw, *streams = rng.spawn(1 + len(HYPOTHESES))
    rows = draw.permutation(len(inputs.score))[: params.cells]
    p: dict[str, float] = {}
    values = []
    for hypothesis, stream in zip(HYPOTHESES, streams, strict=True):
        name = hypothesis.name
        try:
            cells.check(hypothesis)
        except NotApplicable as refusal:
            parts = ("p", "p_holm", "null_rejected")
            values += [Value(0.0, variant=f"{name}:{part}", missing=refusal.reason) for part in parts]
            continue
        u, v, given = _sides(cells, hypothesis, rows)
        p[name] = _p(library, u, v, given, stream)
        strata = cells.strata[hypothesis.given][rows]
        nulls = [_p(library, u, v[_shuffled(strata, stream)], given, stream) for _ in range(params.null_simulations)]
        rejected = float(np.mean(np.asarray(nulls) < ALPHA))
        values.append(Value(p[name], n=len(rows), variant=f"{name}:p"))
        values.append(Value(rejected, n=params.null_simulations, variant=f"{name}:null_rejected"))
    adjusted = zip(p, holm(list(p.values())), strict=True)
    return values + [Value(float(one), n=len(rows), variant=f"{name}:p_holm") for name, one in adjusted]


def _library() -> ModuleType:
    try:
        from causallearn.utils.RCIT import RCIT as library  # noqa: N811 - a module of this name
    except ImportError as error:
        raise NotApplicable("causal_learn_missing") from error
    found: ModuleType = library
    return found


def _sides(
    cells: Cells, hypothesis: Hypothesis, rows: Int[np.ndarray, " drawn"]
) -> tuple[Float[np.ndarray, "drawn u"], Float[np.ndarray, "drawn v"], Float[np.ndarray, "drawn levels"]]:
    """Return both sides and the one-hot strata, without columns that do not vary."""
    u, v = (
        cells.blocks[name][rows] if name in cells.blocks else _one_hot(cells.labels[name][rows])
        for name in (hypothesis.u, hypothesis.v)
    )
    return u[:, ~_assign.dead(u)], v[:, ~_assign.dead(v)], _one_hot(cells.strata[hypothesis.given][rows])


def _one_hot(label: Int[np.ndarray, " drawn"]) -> Float[np.ndarray, "drawn levels"]:
    return np.asarray((label[:, None] == np.unique(label)).astype(np.float64))


def _shuffled(strata: Int[np.ndarray, " drawn"], rng: np.random.Generator) -> Int[np.ndarray, " drawn"]:
    """Return row numbers permuted within strata."""
    order = np.empty(len(strata), dtype=np.int64)
    order[np.argsort(strata, kind="stable")] = np.lexsort((rng.random(len(strata)), strata))
    return order


def _p(
    library: Any,
    u: Float[np.ndarray, "drawn u"],
    v: Float[np.ndarray, "drawn v"],
    given: Float[np.ndarray, "drawn levels"],
    rng: np.random.Generator,
) -> float:
    """Return the p value, with random features drawn from `rng` instead of the global state."""

    def features(
        x: Float[np.ndarray, "drawn inputs"], num_f: int, sigma: float, **_: Any
    ) -> Float[np.ndarray, "drawn features"]:
        turn = rng.standard_normal((num_f, x.shape[1])) / sigma
        return np.asarray(np.sqrt(2) * np.cos(x @ turn.T + rng.uniform(0, 2 * np.pi, num_f)))

    conditional = given.shape[1] > 1
    test = library.RCIT() if conditional else library.RIT()
    test.random_fourier_features = features
    found = test.compute_pvalue(u, v, given) if conditional else test.compute_pvalue(u, v)
    return float(np.clip(found[0], 0.0, 1.0))
