"""What bounds on the likelihood share: which protocol has values on which cells, and the mean over perturbations."""

import numpy as np
from jaxtyping import Bool, Float

from scident.errors import NotApplicable, ScidentError, reason_of
from scident.info import HELDOUT_PROTOCOLS
from scident.metrics import _cells
from scident.metrics.base import FITTED_UNDER, SCOPES, Inputs, Value

MORE_THAN = 10
"""Perturbations enter the aggregate with more cells than this."""

ZERO_SHOT = "zero_shot"
FAILED = "failed:"
"""What `Member.retrained` begins with where the second training failed."""


def values_of(inputs: Inputs, bound: str) -> list[Value]:
    """Average a model's own bound per cell, first over the cells of each perturbation and then over perturbations.

    All cells of the scope's parts count, not only the drawn ones of ``inputs.score``: a mean needs no cap, and the
    draw would empty small perturbations.

    Parameters
    ----------
    inputs
        Of one member.
    bound
        ``nelbo`` or ``iwelbo``.

    Returns
    -------
    For each variant of the scope one value per perturbation, then the aggregate (median in its note), or why there is
    none; nats per cell. A protocol of held-out perturbations that fails or does not apply takes nothing from the rest.
    """
    if not inputs.member.likelihood:
        raise NotApplicable("no_likelihood")
    chosen = inputs.obs["part"].isin(SCOPES[inputs.scope][1]).to_numpy()
    _cells.enough(int(chosen.sum()))
    if inputs.scope != "ood":
        return _averaged(inputs, chosen, "", bound, variant="")
    found: list[Value] = []
    for protocol in HELDOUT_PROTOCOLS:
        try:
            found += _averaged(inputs, chosen, _source(inputs, protocol), bound, variant=protocol)
        except NotApplicable as refusal:
            found.append(Value(0.0, variant=protocol, missing=refusal.reason))
        except ScidentError as error:
            found.append(Value(0.0, variant=protocol, failed=reason_of(error)))
    return found


def _source(inputs: Inputs, protocol: str) -> str:
    """Return which of the member's bounds stand for a protocol of held-out perturbations, or refuse with the reason."""
    member = inputs.member
    if protocol != ZERO_SHOT and not member.label_conditioned:
        raise NotApplicable("nothing_to_fit")
    if protocol != ZERO_SHOT and not (member.adapts and protocol == FITTED_UNDER[inputs.protocol]):
        raise NotApplicable("split_undefined")
    if protocol in member.likelihood:
        return protocol
    if member.retrained.startswith(FAILED):
        raise ScidentError(member.retrained.removeprefix(FAILED))
    if not member.label_conditioned:  # trained once: its usual bound needs no label
        return ""
    raise NotApplicable("not_retrained" if member.adapts else "split_undefined")


def _averaged(
    inputs: Inputs, chosen: Bool[np.ndarray, " cells"], protocol: str, bound: str, variant: str
) -> list[Value]:
    cells = _of_cells(inputs, protocol, bound)[chosen].astype(np.float64)
    _cells.finite(cells, bound)
    label = inputs.obs["perturbation"].cat.codes.to_numpy()[chosen]
    values = []
    for code, name in enumerate(inputs.perturbations):
        own = cells[label == code]
        if len(own) > MORE_THAN:
            error = float(own.std(ddof=1) / np.sqrt(len(own)))
            values.append(Value(float(own.mean()), error, len(own), perturbation=name, variant=variant))
    if not values:
        raise NotApplicable("too_few_cells")
    means = np.array([v.value for v in values])
    errors = np.array([v.se for v in values], dtype=np.float64)
    se = float(np.sqrt((errors**2).sum()) / len(values))
    note = f"median={np.median(means):.4g}"
    return [*values, Value(float(means.mean()), se, len(values), variant=variant, note=note)]


def _of_cells(inputs: Inputs, protocol: str, bound: str) -> Float[np.ndarray, " cells"]:
    given = inputs.member.likelihood.get(protocol)
    values = None if given is None else given.nelbo if bound == "nelbo" else given.iwelbo
    if values is None:
        raise NotApplicable("no_likelihood")
    return values
