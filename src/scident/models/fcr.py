"""FCR: factorised latents of context, interaction and perturbation under learned conditional priors (fcr.md).

Defaults are this project's: one posterior from expression alone, free prior tables, R summed over genes, real
permutations, neither similarity nor label term.
"""

from scident.info import ModelInfo
from scident.models._fcr import FCRModel
from scident.models._fcr_params import FCRParams

info = ModelInfo(
    label="FCR",
    source="Mao et al. 2024, NeurIPS, arXiv 2410.22472",
    role="method",
    gives=("latents", "likelihood", "predictions"),
    label_conditioned=True,
    identifiability="component",
    assumes="means and variances of z_tx interact in context and perturbation; z_x and z_t by blocks alone",
    likelihood="normal",
    note="this project's objective and training (ω1 = ω2 = 0, ω3 = 1); the published one is `fcr_published`. Its "
    "likelihood is of log-normalised expression unless `likelihood` says otherwise",
)


class Params(FCRParams):
    """Parameters of FCR; defaults are this project's (fcr.md §5, §13)."""


class FCR(FCRModel):
    """p(z_x | x) p(z_tx | x, t) p(z_t | t), one decoder, permutation discriminators."""
