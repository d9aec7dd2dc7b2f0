"""FCR as published (fcr.md §4, §5): all terms of weight 1, product prior, three posteriors that read labels."""

from typing import Literal

from pydantic import Field

from scident.info import ModelInfo
from scident.models._fcr import FCRModel
from scident.models._fcr_params import FCRParams

info = ModelInfo(
    label="FCR, published",
    source="Mao et al. 2024, NeurIPS, arXiv 2410.22472",
    role="ablation",
    of="fcr",
    gives=("latents", "likelihood", "predictions"),
    label_conditioned=True,
    identifiability="component",
    assumes="as FCR",
    likelihood="normal",
    note="the published objective (ω = 1, 1, 1), architecture, optimiser and control path, with R summed over genes "
    "and permutations within groups; batch and epochs are those of `fcr`",
)


class Params(FCRParams):
    """Parameters of FCR with the published model's defaults."""

    learning_rate: float = Field(3e-4, gt=0, description="Adam's step size.")
    decay: float = Field(0, ge=0, le=1, description="Share of the epochs, at the end, over which it falls to 0.")
    weight_decay: float = Field(4e-7, ge=0, description="L2 added to the gradient.")
    posterior: Literal["expression", "labels", "joint"] = Field("labels", description="What q(z) reads (see `fcr`).")
    family: Literal["diagonal", "full", "flow"] = Field("diagonal", description="Shape of q(z) (see `fcr`).")
    prior: Literal["tables", "product", "concat"] = Field(
        "product", description="Where the conditional priors come from (see `fcr`)."
    )
    similarity: float = Field(1, ge=0, description="Weight ω1 of the similarity term.")
    labels: float = Field(1, ge=0, description="Weight ω2 of the classifiers' cross-entropies.")
    control_terms: bool = Field(True, description="Add reconstruction and KL of a control cell for every cell.")
    scale: Literal["gene", "cell"] = Field("cell", description="Who gives standard deviations (see `fcr`).")
    network: Literal["skip", "relu"] = Field("relu", description="Kind of networks (see `fcr`).")
    curriculum: bool = Field(False, description="Linear parts first, latents re-assigned (see `fcr`).")


class FCRPublished(FCRModel):
    """Posteriors q(z_x | x, y), q(z_tx | x, t, y), q(z_t | t, y), and the same of control partners."""
