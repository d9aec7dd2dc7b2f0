"""Whole perturbations are held out: none of their cells is seen in training."""

import anndata as ad
import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from scident.errors import ConfigError, nearest
from scident.info import SplitInfo
from scident.params import PluginParams
from scident.splits import _effects
from scident.splits._pathways import PATHWAYS, Pathway
from scident.splits.base import HeldOut

info = SplitInfo(
    label="Unseen perturbations",
    source="Lopez, Tagasovska, Ra, Cho, Pritchard & Regev (2023), CLeaR, arXiv:2211.03553",
)

FEWEST_TRAINING = 2
"""With fewer training perturbations there is no contrast to learn from."""

RULES = ("held_out", "pathway", "strongest")
"""Parameters that say which perturbations; `last_n` says it where none of them does."""


class Params(PluginParams):
    """Which perturbations are held out."""

    held_out: list[str] | None = Field(None, min_length=1, description="Labels to hold out; null: another rule.")
    pathway: Pathway | None = Field(
        None, description="Hold out the genes of this pathway that the data perturb (the lists of the sVAE+ paper)."
    )
    strongest: int | None = Field(
        None, ge=1, description="Hold out so many perturbations of largest energy distance to control cells."
    )
    last_n: int = Field(
        20, ge=1, description="Without another rule: how many of the last perturbations to hold out, in category order."
    )

    @model_validator(mode="after")
    def _one_rule(self) -> "Params":
        given = [name for name in RULES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are rules that exclude each other; keep one")
        return self

    @property
    def rule(self) -> str:
        """Name of the parameter that decides."""
        return next((name for name in RULES if getattr(self, name) is not None), "last_n")


def assign(adata: ad.AnnData, params: Params, rng: np.random.Generator) -> HeldOut:
    """Hold out the perturbations that the rule names; controls never.

    Only `strongest` looks at expression.

    Raises
    ------
    ConfigError
        A label is unknown or a control, the data perturb no gene of the pathway or have no controls to measure effects
        by, or fewer than two perturbations would be left to train on.
    """
    del rng
    label = adata.obs["perturbation"]
    controls = set(label[adata.obs["is_control"].to_numpy(dtype=bool)])
    order = [str(name) for name in label.cat.categories if name not in controls]
    if params.held_out is not None:
        _must_exist(params.held_out, order, controls)
        held_out = params.held_out
    elif params.pathway is not None:
        held_out = _of_pathway(params.pathway, order)
    else:
        held_out = order[-params.last_n :]
    wanted = len(set(held_out)) if params.strongest is None else params.strongest
    left = len(order) - wanted
    if left < FEWEST_TRAINING:
        raise ConfigError(
            f"unseen_perturbation: {params.rule} holds out {min(wanted, len(order))} of {len(order)} perturbations and "
            f"leaves {max(left, 0)} to train on; hold out at most {max(len(order) - FEWEST_TRAINING, 0)}"
        )
    if params.strongest is not None:
        held_out = _effects.strongest(adata, order, params.strongest)
    return pd.Series(label.isin(held_out).to_numpy(), index=adata.obs_names)


def _must_exist(held_out: list[str], order: list[str], controls: set[str]) -> None:
    for name in held_out:
        if name in controls:
            raise ConfigError(
                f"unseen_perturbation: held_out names the control label {name!r}; remove it from the list"
            )
        if name not in order:
            raise ConfigError(
                f"unseen_perturbation: held_out names {name!r}, but the data have no such perturbation; found "
                f"{_listed(order)}.{nearest(name, order)}"
            )


def _of_pathway(pathway: Pathway, order: list[str]) -> list[str]:
    found = [name for name in order if name in PATHWAYS[pathway]]
    if not found:
        raise ConfigError(
            f"unseen_perturbation: the data perturb none of the {len(PATHWAYS[pathway])} genes of pathway {pathway}; "
            f"found {_listed(order)}. The lists are of gene symbols in the genome-wide K562 screen"
        )
    return found


def _listed(order: list[str]) -> str:
    return f"{len(order)}: {', '.join(order[:5])}{', …' if len(order) > 5 else ''}"
