"""Networks whose prior knows the label: z | k ~ N(mask_k * shift_k, I) with a mask that is not learned."""

from torch import Tensor

from scident.engine.layers import rows_of
from scident.engine.stack import Initial, Stack, constant, normal
from scident.engine.trainer import Noise
from scident.models._count_vae import CountVAENetwork


class ShiftPriorNetwork(CountVAENetwork):
    """A shift per perturbation and latent, the mask all ones."""

    def parameters(self) -> dict[str, Initial]:
        """Declare the count VAE's parameters and shifts, [perturbations, latents]."""
        return super().parameters() | {"shift": normal(self.n_perturbations, self.n_latents)}

    def prior_mean(self, stack: Stack, labels: Tensor, noise: Noise) -> Tensor:
        """Return the shift of each cell's perturbation, [members, latents, cells]."""
        return rows_of(stack.p["shift"], labels).transpose(1, 2)


class FrozenMaskNetwork(ShiftPriorNetwork):
    """The mask is a buffer of zeros and ones: no noise, no gradient, no penalty (svae.md §7)."""

    def buffers(self) -> dict[str, Initial]:
        """Declare the running statistics and the mask, [perturbations, latents]."""
        return super().buffers() | {"mask": constant(1, self.n_perturbations, self.n_latents)}

    def prior_mean(self, stack: Stack, labels: Tensor, noise: Noise) -> Tensor:
        """Return mask × shift of each cell's perturbation, [members, latents, cells]."""
        return rows_of(stack.b["mask"] * stack.p["shift"], labels).transpose(1, 2)
