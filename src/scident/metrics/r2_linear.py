"""Linear R²: does the latent space hold the true latents up to an invertible linear map?

The gap between R² and the squared MCC is unresolved mixing. An encoder that only looks up the label already explains
about 0.64 in a world of large shifts, so variant `within` gives the same on residuals.
"""

import numpy as np

from scident.errors import NotApplicable
from scident.info import MetricInfo
from scident.metrics import _cells, _ridge
from scident.metrics._assign import Pairs, describe_constant, within
from scident.metrics.base import Inputs, Value
from scident.params import PluginParams

info = MetricInfo(
    label="Linear R²",
    source="Lopez et al. 2023, CLeaR; Hoerl & Kennard 1970, Technometrics",
    formula="mean over true latents of 1 - SS(residual)/SS(total) on scored cells; ridge fitted on other cells",
    needs=("latents", "truth", "labels"),
    range=(-1e999, 1.0),
    better="higher",
    no_skill=0.0,
    ceiling=1.0,
    invariant_to=("permutation", "sign", "scale", "affine", "linear"),
    variants=("", "within"),
)


class Params(PluginParams):
    """No settings."""


def score(inputs: Inputs, params: Params, rng: np.random.Generator) -> list[Value]:
    """Regress true on estimated latents of ``inputs.fit`` and score ``inputs.score``; insample: least squares."""
    pairs = Pairs(*_cells.truth(inputs), *_cells.latents(inputs, inputs.member))
    plain, residual = rng.spawn(2)
    insample = inputs.scope == "insample"
    values = [_r2(pairs, plain, "", insample=insample)]
    try:
        values.append(_r2(within(inputs, pairs), residual, "within", insample=insample))
    except NotApplicable as refusal:
        values.append(Value(0.0, variant="within", missing=refusal.reason))
    return values


def _r2(pairs: Pairs, rng: np.random.Generator, variant: str, *, insample: bool) -> Value:
    pairs, n_constant = pairs.varying()
    if not pairs.factors_fit.shape[1]:
        raise NotApplicable("no_truth")
    x, x_new = _ridge.standardise(pairs.z_fit, pairs.z_score)
    penalty = 0.0 if insample else _ridge.choose_penalty(x, pairs.factors_fit, _ridge.folds(len(x), rng))
    predicted = _ridge.predict(x, pairs.factors_fit, x_new, penalty)
    weights = _cells.bootstrap_weights(len(x_new), rng)
    r2 = _ridge.r2(pairs.factors_score, predicted, weights).mean(axis=1)
    note = describe_constant(n_constant)
    return Value(float(r2[0]), float(r2[1:].std(ddof=1)), len(x_new), variant=variant, note=note)
