"""FCR as the authors' public code behaves (fcr.md §9, S1-S10), with the weights of their sciPlex notebook.

Its discriminators have no effect: real and made-up pairs differ by a second draw alone (S8), and their loss stays at
ln 2. Not reproduced: their batches of 2,048 in fixed order, their 1,500 epochs and their 30 samples per cell.
"""

from typing import Literal

from pydantic import Field

from scident.info import ModelInfo
from scident.models._fcr import FCRModel
from scident.models._fcr_params import FCRParams

info = ModelInfo(
    label="FCR, authors' code",
    source="Mao et al. 2024, NeurIPS, arXiv 2410.22472",
    role="ablation",
    of="fcr",
    gives=("latents", "likelihood", "predictions"),
    label_conditioned=True,
    identifiability="component",
    assumes="as FCR",
    likelihood="normal",
    note="every deviation of the public code that fcr.md lists, on this project's batches; ω = 5, 5, 0.1. Likelihoods "
    "are this project's bound, which its training does not optimise",
)


class Params(FCRParams):
    """Parameters of FCR with the switches S1-S10 on."""

    learning_rate: float = Field(3e-4, gt=0, description="Adam's step size.")
    decay: float = Field(0, ge=0, le=1, description="Share of the epochs, at the end, over which it falls to 0.")
    weight_decay: float = Field(4e-7, ge=0, description="L2 added to the gradient.")
    posterior: Literal["expression", "labels", "joint"] = Field("joint", description="What q(z) reads (S1).")
    family: Literal["diagonal", "full", "flow"] = Field("diagonal", description="Shape of q(z) (see `fcr`).")
    prior: Literal["tables", "product", "concat"] = Field("concat", description="Prior of z_tx (S2).")
    relu_heads: bool = Field(True, description="ReLU on means and raw scales (S3).")
    control_from_treated: bool = Field(True, description="Control latents from the treated cell's expression (S4).")
    kl: Literal["closed", "released"] = Field("released", description="The divergence in training (S5).")
    marginal_kl: bool = Field(True, description="Divergence of each condition's averages added (S6).")
    classified: Literal["t+tx", "t"] = Field("t", description="Blocks the treatment classifier reads (S7).")
    double_softmax: bool = Field(True, description="A softmax before the cross-entropy's (S7).")
    negatives: Literal["permuted", "resampled"] = Field("resampled", description="Made-up pairs (S8).")
    encoder_gradient: bool = Field(False, description="Whether the permutation term teaches the encoder (S8).")
    alternation: int = Field(8, ge=0, description="Every so many epochs discriminators alone learn (S9).")
    frozen_norms: bool = Field(True, description="Running statistics after the first epoch (S9).")
    export_noise: bool = Field(True, description="Noise on exported means (S10).")
    per_gene_mean: bool = Field(True, description="Reconstruction averaged over genes.")
    similarity: float = Field(5, ge=0, description="Weight ω1 of the similarity term.")
    labels: float = Field(5, ge=0, description="Weight ω2 of the classifiers' cross-entropies.")
    permutation: float = Field(0.1, ge=0, description="Weight ω3 of the discriminators' cross-entropy.")
    ramp: float = Field(0, ge=0, le=1, description="Share of the epochs over which ω3 rises from 0.")
    control_terms: bool = Field(True, description="Add reconstruction and KL of a control cell for every cell.")
    scale: Literal["gene", "cell"] = Field("cell", description="Who gives standard deviations (see `fcr`).")
    network: Literal["skip", "relu"] = Field("relu", description="Kind of networks (see `fcr`).")
    curriculum: bool = Field(False, description="Linear parts first, latents re-assigned (see `fcr`).")


class FCRAuthors(FCRModel):
    """One posterior network, released divergences, resampled pairs, epochs in turn."""
