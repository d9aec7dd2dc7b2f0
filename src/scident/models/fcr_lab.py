"""FCR with the label terms (fcr.md §5.4)."""

from pydantic import Field

from scident.info import ModelInfo
from scident.models._fcr import FCRModel
from scident.models._fcr_params import FCRParams

info = ModelInfo(
    label="FCR + labels",
    source="Mao et al. 2024, NeurIPS, arXiv 2410.22472",
    role="ablation",
    of="fcr",
    gives=("latents", "likelihood", "predictions"),
    label_conditioned=True,
    identifiability="component",
    assumes="as FCR",
    likelihood="normal",
    note="FCR with ω2 = 1",
)


class Params(FCRParams):
    """Parameters of FCR with other defaults."""

    labels: float = Field(1, ge=0, description="Weight ω2 of the classifiers' cross-entropies.")


class FCRLab(FCRModel):
    """Classifiers read the context off z_x and the perturbation off (z_tx, z_t)."""
