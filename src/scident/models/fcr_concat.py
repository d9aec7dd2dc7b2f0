"""FCR whose prior of z_tx reads both embeddings side by side instead of their product (fcr.md §9, S2)."""

from typing import Literal

from pydantic import Field

from scident.info import ModelInfo
from scident.models._fcr import FCRModel
from scident.models._fcr_params import FCRParams

info = ModelInfo(
    label="FCR, concatenated prior",
    source="Mao et al. 2024, NeurIPS, arXiv 2410.22472",
    role="ablation",
    of="fcr",
    gives=("latents", "likelihood", "predictions"),
    label_conditioned=True,
    identifiability="component",
    assumes="as FCR",
    likelihood="normal",
    note="FCR with prior: concat",
)


class Params(FCRParams):
    """Parameters of FCR with other defaults."""

    prior: Literal["tables", "product", "concat"] = Field(
        "concat", description="Where the conditional priors come from (see `fcr`)."
    )


class FCRConcat(FCRModel):
    """p(z_tx | x, t) by a network on [e_x, k_t(t)]."""
