r"""The invertible map between the numbers a decoder reads and the latents, :math:`z = F(u)` (docs/adr/0011).

The encoder gives a diagonal Gaussian of u, whose image under F is q(z | y): a full Gaussian where F is affine, a curved
one where it is a flow. The decoder reads u, so F may change while reconstruction stays as it is: without it, encoder
and decoder must change together, to the precision of the posterior, before latents can turn. The same ELBO follows
from p(z) by the change of variables, :math:`p(u) = p(F(u)) |\det J_F(u)|`.
"""

from dataclasses import dataclass

from torch import Tensor

from scident.engine.stack import Initial, Stack
from scident.models._curriculum import taken
from scident.models._fcr_terms import Gaussian, kl
from scident.models._flow import Flow


@dataclass(frozen=True)
class Draw:
    """One draw of every cell's posterior."""

    q: Gaussian
    """Of u."""
    u: Tensor
    z: Tensor
    """F(u); [members, latents, cells], as u."""
    log_volume: Tensor | None
    """Log of the absolute determinant of F's slope at u, [members, cells]; None: F is the identity."""

    def divergence(self, p: Gaussian) -> Tensor:
        """Return KL(q(z | y) || p(z)), nats: [members, cells]; its estimate by this draw where F is not the identity.

        The entropy of u is exact, so with a narrow posterior the estimate varies little.
        """
        if self.log_volume is None:
            return kl(self.q, p).sum(1)
        return -(self.q.log_sd + 0.5).sum(1) - self.log_volume - p.log_density(self.z)

    def log_ratio(self, p: Gaussian) -> Tensor:
        """Return log p(z) - log q(z | y), nats: [members, cells]."""
        volume = 0.0 if self.log_volume is None else self.log_volume
        return p.log_density(self.z) - self.q.log_density(self.u) + volume


class LatentMap:
    """F: u and z are one and the same ("diagonal"), z is affine in u ("full"), or a flow of it ("flow")."""

    def __init__(self, family: str, n_latents: int, couplings: int, width: int) -> None:
        self.flow = None if family == "diagonal" else Flow(n_latents, couplings if family == "flow" else 0, width)

    def parameters(self) -> dict[str, Initial]:
        """Declare F; its linear maps are orthogonal at first."""
        return self.flow.parameters() if self.flow else {}

    def draw(self, stack: Stack, q: Gaussian, noise: Tensor, bend: Tensor | None = None) -> Draw:
        """Return a draw of q(u | y); `bend` multiplies what is not affine in F, None: 1."""
        u = q.sample(noise)
        if self.flow is None:
            return Draw(q, u, u, None)
        return Draw(q, u, *self.flow.forward(stack, u, 1.0 if bend is None else bend))

    def __call__(self, stack: Stack, u: Tensor, bend: Tensor | None = None) -> Tensor:
        """Return z, [members, latents, cells]."""
        return self.flow.forward(stack, u, 1.0 if bend is None else bend)[0] if self.flow else u

    def inverse(self, stack: Stack, z: Tensor) -> Tensor:
        """Return u, [members, latents, cells]."""
        return self.flow.inverse(stack, z) if self.flow else z

    def permute(self, stack: Stack, order: Tensor) -> None:
        """Put z into another order, [members, latents], in place; only where F is not the identity."""
        for name in ("flow.linear", "flow.offset"):
            stack.p[name][:, -1].copy_(taken(stack.p[name][:, -1], order, 1))
