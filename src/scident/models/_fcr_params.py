"""Parameters of FCR and its variants, and the switches that give the authors' behaviour (fcr.md §5, §6, §9, §13)."""

from typing import Literal

from pydantic import Field, model_validator

from scident.models._batched import BatchedParams


class TrainingParams(BatchedParams):
    """How FCR is trained (fcr.md §13)."""

    epochs: int = Field(200, ge=0, description="Passes over the training cells: 5,000 steps of 256 at 6,480 cells.")
    learning_rate: float = Field(5e-3, gt=0, description="Adam's step size at the start.")
    decay: float = Field(1, ge=0, le=1, description="Share of the epochs, at the end, over which it falls to 0.")
    schedule: Literal["linear", "cosine"] = Field("cosine", description="How it falls.")
    batch_size: int = Field(256, ge=3, description="Cells per step.")
    patience: int = Field(
        1_000_000, ge=1, description="Epochs without a better validation nELBO after which a member stops."
    )
    epsilon: float = Field(1e-8, gt=0, description="Adam's eps.")
    weight_decay: float = Field(1e-3, ge=0, description="L2 added to the gradient.")
    clip: float | None = Field(
        None,
        gt=0,
        description="Largest norm of a member's gradient; null: any. Reconstruction's gradient is so long that a bound "
        "drowns that of the priors and the map (docs/adr/0011-posterior-family.md).",
    )


class ReleasedSwitches(TrainingParams):
    """What the authors' code does otherwise, by the names of fcr.md §9; off but for `fcr_authors`."""

    relu_heads: bool = Field(
        False, description="S3: ReLU on means and raw scales of posteriors and priors, so no mean is below 0."
    )
    control_from_treated: bool = Field(
        False, description="S4: the control path's latents come from the treated cell's expression."
    )
    kl: Literal["closed", "released"] = Field("closed", description="The divergence in training; released: S5's.")
    marginal_kl: bool = Field(
        False, description="S6: add S5's divergence of means and deviations averaged over each condition of a batch."
    )
    classified: Literal["t+tx", "t"] = Field("t+tx", description="Blocks the treatment classifier reads; t: S7.")
    double_softmax: bool = Field(False, description="S7: a softmax before the one in the classifiers' cross-entropy.")
    negatives: Literal["permuted", "resampled"] = Field(
        "permuted", description="The discriminators' made-up pairs; resampled: S8, a second draw of the same cells."
    )
    encoder_gradient: bool = Field(
        True, description="Whether the permutation term teaches the encoder; S8: it does not."
    )
    alternation: int = Field(
        0,
        ge=0,
        description="S9: every so many epochs, from the first, discriminators alone learn, in the others all else "
        "alone; 0: both learn at every step.",
    )
    frozen_norms: bool = Field(
        False, description="S9: after the first epoch batch normalisation uses its running statistics."
    )
    export_noise: bool = Field(
        False, description="S10: noise of sd 0.2, 0.001 and 0.005 on the exported means of z_x, z_tx and z_t."
    )
    per_gene_mean: bool = Field(
        False, description="Divide the reconstruction term by the number of genes; beta of 1 then weighs as much as G."
    )


class FCRParams(ReleasedSwitches):
    """The model, its terms and its architecture."""

    sizes: tuple[int, int, int] | None = Field(
        None, description="Latents of z_x, z_tx and z_t; null: a third each, what is left over to z_tx."
    )
    posterior: Literal["expression", "labels", "joint"] = Field(
        "expression",
        description="What q(z) reads: expression alone; by three networks, also x, (x, t) or t (published); joint: all "
        "of it by one network (S1).",
    )
    family: Literal["diagonal", "full", "flow"] = Field(
        "flow",
        description="Shape of q(z): a diagonal Gaussian (published); or the image of one under a map that the decoder "
        "undoes, affine (a full Gaussian) or a flow. See docs/adr/0011-posterior-family.md.",
    )
    prior: Literal["tables", "product", "concat"] = Field(
        "tables",
        description="Free means and deviations per x, (x, t) and t; or networks, z_tx's on the product of embeddings "
        "(published) or on one beside the other (S2).",
    )
    beta: float = Field(1, ge=0, description="Weight of the KL; 1 makes R + KL the negative ELBO.")
    similarity: float = Field(0, ge=0, description="Weight ω1 of the similarity term.")
    labels: float = Field(0, ge=0, description="Weight ω2 of the classifiers' cross-entropies.")
    permutation: float = Field(1, ge=0, description="Weight ω3 of the permutation discriminators' cross-entropy.")
    ramp: float = Field(0.1, ge=0, le=1, description="Share of the epochs over which ω3 rises from 0.")
    discriminator_steps: int = Field(1, ge=1, description="Steps of the discriminators before each of the model.")
    control_terms: bool = Field(
        False, description="Add reconstruction and KL of a control cell of the same context for every cell."
    )
    likelihood: Literal["normal", "negative_binomial"] = Field(
        "normal", description="Of log-normalised expression, or of counts."
    )
    scale: Literal["gene", "cell"] = Field(
        "gene",
        description="Standard deviation of each gene learned, or given by the decoder for each cell (published).",
    )
    network: Literal["skip", "relu"] = Field(
        "skip",
        description="Networks: linear plus SiLU layers that start at 0, on principal components, and a linear map of "
        "the latents that encoder and decoder share; or BatchNorm and ReLU on expression (published).",
    )
    n_components: int = Field(50, ge=1, description="Principal components read by skip networks; at most the genes.")
    width: int = Field(128, ge=1, description="Units of each hidden layer.")
    layers: int = Field(2, ge=1, description="Hidden layers of posterior, decoder and context classifier.")
    couplings: int = Field(6, ge=1, description="Affine couplings of the flow.")
    flow_width: int = Field(48, ge=1, description="Units of each of the two hidden layers of a coupling.")
    curriculum: bool = Field(
        True,
        description="A quarter of the epochs only linear parts learn, and latents are re-assigned to blocks twice "
        "(fcr.md §13). Published networks have no linear part, and three posteriors cannot swap latents.",
    )

    @model_validator(mode="after")
    def _authors_scale_is_a_normals(self) -> "FCRParams":
        if self.likelihood == "negative_binomial" and self.scale == "cell":
            raise ValueError("scale: cell is of the normal likelihood; the dispersion of counts is learned per gene")
        return self

    @model_validator(mode="after")
    def _maps_are_of_one_network(self) -> "FCRParams":
        if self.family != "diagonal" and (self.posterior != "expression" or self.network == "relu"):
            raise ValueError(
                f"family: {self.family} needs posterior: expression and network: skip, else a map would mix what "
                "networks read apart; set family: diagonal"
            )
        return self

    @model_validator(mode="after")
    def _control_path_reads_labels(self) -> "FCRParams":
        if self.control_from_treated and self.posterior == "expression":
            raise ValueError("control_from_treated needs a posterior that reads labels; set posterior")
        return self
