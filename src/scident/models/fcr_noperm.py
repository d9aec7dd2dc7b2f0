"""FCR without its permutation discriminators (fcr.md §5.5)."""

from pydantic import Field

from scident.info import ModelInfo
from scident.models._fcr import FCRModel
from scident.models._fcr_params import FCRParams

info = ModelInfo(
    label="FCR - permutation",
    source="Mao et al. 2024, NeurIPS, arXiv 2410.22472",
    role="ablation",
    of="fcr",
    gives=("latents", "likelihood", "predictions"),
    label_conditioned=True,
    identifiability="component",
    assumes="as FCR",
    likelihood="normal",
    note="FCR with ω3 = 0",
)


class Params(FCRParams):
    """Parameters of FCR with other defaults."""

    permutation: float = Field(0, ge=0, description="Weight ω3 of the permutation discriminators' cross-entropy.")


class FCRNoPerm(FCRModel):
    """Nothing but the negative ELBO."""
