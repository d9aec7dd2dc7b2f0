"""iVAE with every shift free: the conditional prior without a mask (svae.md §3)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
from pydantic import Field

from scident.engine.batches import Cells
from scident.engine.stack import Stack
from scident.info import ModelInfo
from scident.models._count_vae import CountVAENetwork
from scident.models._joint_label import PreparedIVAE, labelled
from scident.models._retraining import TwiceTrainedParams
from scident.models._shift_prior import ShiftPriorNetwork
from scident.models.base import Fitted, Member
from scident.models.ivae_released import IVAE
from scident.types import Targets

info = ModelInfo(
    label="iVAE",
    source="Khemakhem et al. 2020, AISTATS, arXiv 1907.04809; network and counts of Lopez et al. 2023, CLeaR",
    role="method",
    gives=("latents", "targets", "likelihood"),
    label_conditioned=True,
    adapts=True,
    identifiability="affine",
    assumes="shifts of enough perturbations span the latent space",
    likelihood="negative binomial",
)


class Params(TwiceTrainedParams):
    """Parameters of iVAE."""

    label: Literal["perturbation", "context+perturbation"] = Field(
        "perturbation", description="What the prior mean of z depends on; with both it names no targets."
    )


class FixedIVAE(IVAE):
    """Every label may move every latent; nothing of that is learned."""

    network_class = ShiftPriorNetwork
    second = PreparedIVAE

    @classmethod
    def fit_members(cls, members: Sequence[Member], checkpoints: Path | None = None) -> list[Fitted]:
        """Fit all members, those of equal shape together."""
        return super().fit_members(_labelled(members), checkpoints)

    @classmethod
    def retrain_members(
        cls, members: Sequence[Member], fitted: Sequence[Fitted], published: bool, checkpoints: Path | None = None
    ) -> list[Fitted]:
        """Train again on the same cells, as the base class does."""
        return super().retrain_members(_labelled(members), fitted, published, checkpoints)

    def _network(self, cells: ad.AnnData) -> tuple[CountVAENetwork, Stack, Cells]:
        return super()._network(labelled(self.params, cells))

    def mask_probability(self) -> np.ndarray:
        """Return ones, [labels, latents]."""
        return np.ones(self.state["shift"].shape)

    def targets(self) -> Targets | None:
        """Return those of the base class where a label is a perturbation."""
        params: Any = self.params
        return super().targets() if params.label == "perturbation" else None


def _labelled(members: Sequence[Member]) -> list[Member]:
    """Give members the cells with their label; what was shared stays shared, so that it lies in memory once."""
    made: dict[tuple[int, str], ad.AnnData] = {}

    def of(member: Member, cells: ad.AnnData) -> ad.AnnData:
        params: Any = member.params
        return made.setdefault((id(cells), params.label), labelled(params, cells))

    return [replace(m, train=of(m, m.train), val=of(m, m.val)) for m in members]
