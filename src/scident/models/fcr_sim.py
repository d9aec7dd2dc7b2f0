"""FCR with the causal-structure term (fcr.md §5.3)."""

from pydantic import Field

from scident.info import ModelInfo
from scident.models._fcr import FCRModel
from scident.models._fcr_params import FCRParams

info = ModelInfo(
    label="FCR + similarity",
    source="Mao et al. 2024, NeurIPS, arXiv 2410.22472",
    role="ablation",
    of="fcr",
    gives=("latents", "likelihood", "predictions"),
    label_conditioned=True,
    identifiability="component",
    assumes="as FCR",
    likelihood="normal",
    note="FCR with ω1 = 1",
)


class Params(FCRParams):
    """Parameters of FCR with other defaults."""

    similarity: float = Field(1, ge=0, description="Weight ω1 of the similarity term.")


class FCRSim(FCRModel):
    """Posterior means of a cell and of a control cell of its context: z_x alike, z_t apart."""
