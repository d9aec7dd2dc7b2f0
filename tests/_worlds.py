"""Small inputs for metric tests: standard Gaussian latents, shifted by perturbations where a test asks for it."""

from dataclasses import replace

import numpy as np
import pandas as pd

from scident.metrics.base import Inputs, Member
from scident.types import Likelihood, Targets


def labels(n_cells, n_perts, *, control=False, n_contexts=1):
    names = tuple(f"p{i:03d}" for i in range(n_perts))
    code = np.arange(n_cells) % n_perts
    frame = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(code, categories=names),
            "is_control": (code == 0) & control,
            "context": [f"x{i}" for i in np.arange(n_cells) // n_perts % n_contexts],
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    return frame, names, code


def member(z, *, seed=0, targets=None, nelbo=None, label_conditioned=False, adapts=False, retrained="no", **protocols):
    """`nelbo` is what the trained model gives, `protocols` what it gives of held-out cells; IWELBO = 1 - nELBO."""
    costs = {"": nelbo, **protocols}
    bounds = {name: Likelihood(cost, 1.0 - cost) for name, cost in costs.items() if cost is not None}
    return Member(0, "default", seed, z, targets, bounds, label_conditioned, adapts, retrained)


def world(
    z_true,
    *members,
    scope="iid",
    n_perts=10,
    heldout=0,
    truth=None,
    seeds=None,
    control=False,
    protocol="heldout",
    n_contexts=1,
    blocks=None,
):
    """Inputs whose first half is `fit`, second half is scored; `heldout` last perturbations have no training cells."""
    n_cells = len(members[0].z)
    obs, names, code = labels(n_cells, n_perts, control=control, n_contexts=n_contexts)
    second = np.arange(n_cells) >= n_cells // 2
    if scope == "insample":
        obs["part"] = np.where(code < n_perts - heldout, np.where(second, "val", "train"), "heldout_score")
        fit = score = np.flatnonzero(obs["part"] != "heldout_score")
    else:
        unseen = code >= n_perts - heldout if heldout else np.zeros(n_cells, bool)
        scored = "score" if scope == "iid" else "heldout_score"
        obs["part"] = np.where(second, "score", "fit")
        obs.loc[unseen & ~second, "part"] = "heldout_fit"
        obs.loc[unseen & second, "part"] = "heldout_score"
        fit, score = np.flatnonzero(obs["part"] == "fit"), np.flatnonzero(obs["part"] == scored)
    return Inputs(
        scope=scope,
        obs=obs,
        fit=fit,
        score=score,
        perturbations=names,
        trained=np.arange(n_perts) < n_perts - heldout,
        members=members,
        z_true=z_true,
        targets_true=truth,
        blocks_true=blocks,
        seeds=tuple(range(len(members))) if seeds is None else seeds,
        protocol=protocol,
    )


def gaussian(n_cells, n_factors, seed=0):
    return np.random.default_rng(seed).standard_normal((n_cells, n_factors))


QUICK = {"hsic_strat": {"permutations": 39, "subsamples": 2}, "rcit": {"null_simulations": 1}}
"""Parameters of metrics that take long, where a test asks for no particular number."""

FACTORISED = ("x", "x", "tx", "tx", "t", "t")
"""Blocks of `factorised`."""


def factorised(n_cells, n_perts=4, n_contexts=4, *, seed=0, shift=2.0, interaction=1.0):
    """Latents x, x, tx, tx, t, t whose means depend on the context, on both, on the perturbation, as cells of `world`.

    Means of conditions have sd `shift`, those of the block tx `shift` times `interaction`; within conditions sd 1.
    """
    rng = np.random.default_rng(seed)
    code, context = np.arange(n_cells) % n_perts, np.arange(n_cells) // n_perts % n_contexts
    x, tx, t = (rng.standard_normal((*size, 2)) * shift for size in ((n_contexts,), (n_contexts, n_perts), (n_perts,)))
    mean = np.hstack([x[context], interaction * tx[context, code], t[code]])
    return mean + rng.standard_normal(mean.shape)


def blocked(z_true, z, *, n_perts=4, n_contexts=4, blocks=FACTORISED, **kwargs):
    """Inputs of latents in blocks; cells are those of `factorised`."""
    one = replace(member(z), blocks=blocks)
    return world(z_true, one, n_perts=n_perts, n_contexts=n_contexts, blocks=FACTORISED, **kwargs)


def haar(n, rng):
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def sparse_targets(n_perts, n_factors, rng):
    """One to three targets per perturbation, drawn without replacement."""
    mask = np.zeros((n_perts, n_factors), bool)
    for row in mask:
        row[rng.choice(n_factors, rng.integers(1, 4), replace=False)] = True
    return mask


def masks(score, source="mask"):
    return Targets(np.asarray(score, float), np.asarray(score) > 0.5, source)


def value(module, inputs, variant="", seed=0):
    values = module.score(inputs, module.Params(), np.random.default_rng(seed))
    (found,) = [v for v in values if v.variant == variant and v.perturbation is None]
    return found
