"""FCR's network and its objective (fcr.md §4, §5)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anndata as ad
import numpy as np
import torch
from torch import Tensor

from scident.engine import layers
from scident.engine.batches import Batch
from scident.engine.stack import Initial, Stack
from scident.engine.streams import Streams
from scident.engine.trainer import Batches, Matrix, Network, Noise
from scident.models import _fcr_nets as nets
from scident.models import _fcr_terms as terms
from scident.models._count_vae import warm_up
from scident.models._curriculum import Curriculum, taken
from scident.models._design import Design
from scident.models._fcr_discriminators import Discriminators
from scident.models._fcr_map import Draw, LatentMap
from scident.models._fcr_observation import observation_of, prepared
from scident.models._fcr_params import FCRParams
from scident.models._fcr_posterior import Posterior, gaussian
from scident.models._fcr_terms import Gaussian
from scident.models._priors import Priors


@dataclass(frozen=True)
class Path:
    """Some cells as the objective sees them: their expression, labels, and how much each counts."""

    counts: Tensor
    centred: Tensor
    contexts: Tensor
    labels: Tensor
    weight: Tensor
    """[members, cells]."""


class FCRNetwork(Network):
    """z = (z_x, z_tx, z_t) with p(z_x | x) p(z_tx | x, t) p(z_t | t), and one decoder for treated and control cells.

    Control cells are ordinary cells with the control's label. The control path beside them (fcr.md §5: a control cell
    of the same context for every cell) is run where the similarity term compares with it, and enters reconstruction
    and KL only with `control_terms`: without them it would only weigh control cells up, at twice the cost.
    """

    def __init__(self, params: FCRParams, design: Design) -> None:
        self.params, self.design = params, design
        self.observation = observation_of(params, design.n_genes)
        self.posterior, self.priors = Posterior(params, design), Priors(params.prior, design, params.relu_heads)
        self.map = LatentMap(params.family, design.n_latents, params.couplings, params.flow_width)
        self.discriminators = Discriminators(params, design) if params.permutation else None
        self.curriculum = Curriculum(params.epochs, design) if params.curriculum else None
        self.wants_partner = design.control is not None and (params.similarity > 0 or params.control_terms)
        self._parameters, self._buffers = self._declare()

    def _declare(self) -> nets.Declared:
        d_x, d_tx, d_t = self.design.sizes
        shape = self.params.width, self.params.layers
        found = [self.posterior.declare(), (self.priors.parameters(), {})]
        outputs = self.observation.outputs
        found.append(nets.declare(self.params.network, "decoder", self.design.n_latents, outputs, *shape))
        found.append((self.map.parameters(), {}))
        found.append((self.observation.parameters(), self.observation.buffers()))
        if self.params.labels:
            read = d_t if self.params.classified == "t" else d_tx + d_t
            found.append(nets.declare(self.params.network, "contexts", d_x, self.design.n_contexts, *shape))
            found.append((layers.linear_parameters("perturbations", read, self.design.n_perturbations), {}))
        if self.discriminators:
            found.append((self.discriminators.parameters(), {}))
        parameters: dict[str, Initial] = {}
        buffers: dict[str, Initial] = {}
        for own, kept in found:
            parameters |= own
            buffers |= kept
        return parameters, buffers

    def parameters(self) -> dict[str, Initial]:
        """Declare every network's parameters."""
        return self._parameters

    def buffers(self) -> dict[str, Initial]:
        """Declare what is known of the genes, and running statistics."""
        return self._buffers

    def prepare(self, train: ad.AnnData) -> dict[str, np.ndarray]:
        """Return mean and standard deviation of each gene and, for the posterior, the principal components."""
        return prepared(train, self.posterior.components if self.params.network == "skip" else 0)

    def resident(self, cells: ad.AnnData, prepared: Mapping[str, np.ndarray]) -> Matrix:
        """Return centred log-normalised expression, or counts where these are modelled."""
        return self.observation.resident(cells, prepared)

    def noise(self, streams: Streams, cells: int, training: bool) -> Noise:
        """Draw the noise of z, for the control path too, and what the discriminators' pairs are made by."""
        both = 2 if training and self.wants_partner else 1
        drawn = {"z": streams.normal(self.design.n_latents, both * cells)}
        return drawn | (self.discriminators.noise(streams, cells) if self.discriminators else {})

    @property
    def reads_labels(self) -> bool:
        """Whether posteriors depend on the labels of a cell."""
        return self.params.posterior != "expression"

    def own(self, stack: Stack, batch: Batch) -> Path:
        """Return the cells of a batch."""
        centred = self.observation.centred(stack, batch.counts)
        return Path(batch.counts, centred, batch.contexts, batch.labels, torch.ones_like(centred[:, 0]))

    def _with_partners(self, stack: Stack, batch: Batch) -> Path:
        """Return the cells and then their control partners, labelled as controls."""
        own = self.own(stack, batch)
        assert batch.partner is not None
        assert batch.has_partner is not None
        source = batch.counts if self.params.control_from_treated else batch.partner
        labels = torch.full_like(batch.labels, self.design.control or 0)
        return Path(
            torch.cat([batch.counts, batch.partner], 2),
            torch.cat([own.centred, self.observation.centred(stack, source)], 2),
            torch.cat([batch.contexts, batch.contexts], 1),
            torch.cat([batch.labels, labels], 1),
            torch.cat([own.weight, batch.has_partner.to(own.weight.dtype)], 1),
        )

    def encode(self, stack: Stack, path: Path, training: bool = False, bend: Tensor | None = None) -> Gaussian:
        """Return the posterior of what the decoder reads, u, of each cell."""
        return self.posterior(stack, path.centred, path.contexts, path.labels, training, bend)

    def prior(self, stack: Stack, contexts: Tensor, labels: Tensor) -> Gaussian:
        """Return the prior of each cell, [members, latents, cells]."""
        mean, raw = self.priors(stack, contexts, labels)
        return gaussian(mean, raw, True) if self.params.relu_heads else Gaussian(mean, raw)

    def latents(self, stack: Stack, path: Path) -> Tensor:
        """Return z at the posterior mean of u, [members, latents, cells]."""
        return self.map(stack, self.encode(stack, path).mean)

    def decode(self, stack: Stack, u: Tensor, training: bool = False, bend: Tensor | None = None) -> Tensor:
        """Return the decoder's outputs, [members, outputs, cells]."""
        return nets.apply(self.params.network, stack, "decoder", u, training, bend)

    def loss(self, stack: Stack, batch: Batch, noise: Noise, epoch: Tensor) -> Tensor:
        """Return R + β KL + ω1 similarity + ω2 labels - ω3 permutation, [members]; R has the right slopes."""
        params, cells = self.params, len(batch)
        training = self._trains_norms(epoch)
        bend = self.curriculum.bend(epoch) if self.curriculum else None
        path = self._with_partners(stack, batch) if self.wants_partner else self.own(stack, batch)
        everyone = q = self.encode(stack, path, training, bend)
        if self.wants_partner and not params.control_terms:
            path, q = self.own(stack, batch), _first(q, cells)
        draw = self.map.draw(stack, q, noise["z"][..., : q.mean.shape[2]], bend)
        total = self._local(stack, path, draw, self.decode(stack, draw.u, training, bend), cells)
        if params.similarity and self.wants_partner:
            total = total + params.similarity * self._similarity(self.map(stack, everyone.mean, bend), batch)
        if params.labels:
            total = total + params.labels * self._labels(stack, draw.z[..., :cells], batch, training, bend)
        if self.discriminators:
            weight = params.permutation * warm_up(epoch, stack.h["ramp_epochs"])
            z = draw.z[..., :cells]
            total = total - weight * self.discriminators.loss(stack, _first(q, cells), z, batch, noise)
        return total if not params.alternation else total * (epoch % params.alternation != 0)

    def _local(self, stack: Stack, path: Path, draw: Draw, out: Tensor, cells: int) -> Tensor:
        """Return the mean over cells of R + β KL, a partner's added to its cell's, [members]."""
        r = self.observation.training(stack, path.counts, out)
        if self.params.per_gene_mean:
            r = r / self.design.n_genes
        p = self.prior(stack, path.contexts, path.labels)
        kl = terms.released_kl(draw.q, p).sum(1) if self.params.kl == "released" else draw.divergence(p)
        total = ((r + self.params.beta * kl) * path.weight).sum(1) / cells
        if self.params.marginal_kl:
            codes = path.contexts * self.design.n_perturbations + path.labels
            groups = self.design.n_contexts * self.design.n_perturbations
            total = total + self.params.beta * terms.marginal_kl(draw.q, p, codes, groups)
        return total

    def _similarity(self, mean: Tensor, batch: Batch) -> Tensor:
        assert batch.has_partner is not None
        d_x, d_tx, _ = self.design.sizes
        own, partner = ((half[:, :d_x], half[:, d_x + d_tx :]) for half in mean.chunk(2, 2))
        return terms.similarity(own, partner, batch.has_partner, batch.labels.ne(self.design.control or 0))

    def _labels(self, stack: Stack, z: Tensor, batch: Batch, training: bool, bend: Tensor | None) -> Tensor:
        """Return the cross-entropies of contexts given z_x and of perturbations given (z_tx, z_t), [members]."""
        d_x, d_tx, _ = self.design.sizes
        contexts = nets.apply(self.params.network, stack, "contexts", z[:, :d_x], training, bend)
        read = z[:, d_x + d_tx :] if self.params.classified == "t" else z[:, d_x:]
        perturbations = layers.linear(stack, "perturbations", read)
        twice = self.params.double_softmax
        return terms.label_loss(contexts, batch.contexts, twice) + terms.label_loss(perturbations, batch.labels, twice)

    def adversary(self, stack: Stack, batch: Batch, noise: Noise, epoch: Tensor) -> Tensor:
        """Return the discriminators' cross-entropy on the posteriors as they are, [members]."""
        assert self.discriminators is not None
        with torch.no_grad():
            bend = self.curriculum.bend(epoch) if self.curriculum else None
            q = self.encode(stack, self.own(stack, batch), self._trains_norms(epoch), bend)
            z = self.map.draw(stack, q, noise["z"][..., : len(batch)], bend).z
        loss = self.discriminators.loss(stack, q, z, batch, noise)
        return loss if not self.params.alternation else loss * (epoch % self.params.alternation == 0)

    def _trains_norms(self, epoch: Tensor) -> bool:
        """Say whether batch normalisation uses its batch (S9: in the first epoch alone)."""
        return not self.params.frozen_norms or int(epoch) == 0

    def validate(self, stack: Stack, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Return sums of R, KL, R + KL (β = 1, all of it) and, if there are any, of the discriminators' losses."""
        path = self.own(stack, batch)
        r, kl, draw = self.local_terms(stack, path, noise["z"])
        found = {"nelbo": (r + kl).sum(1), "reconstruction": r.sum(1), "kl": kl.sum(1)}
        if self.discriminators:
            found["discriminator"] = len(batch) * self.discriminators.loss(stack, draw.q, draw.z, batch, noise)
        return found

    def local_terms(self, stack: Stack, path: Path, noise: Tensor) -> tuple[Tensor, Tensor, Draw]:
        """Return R and KL [members, cells], nats, and the draw they are computed at, in evaluation mode."""
        draw = self.map.draw(stack, self.encode(stack, path), noise)
        r = self.observation.cost(stack, path.counts, self.decode(stack, draw.u))
        return r, draw.divergence(self.prior(stack, path.contexts, path.labels)), draw

    def weigher(self, stack: Stack, path: Path) -> Callable[[Tensor], Tensor]:
        """Return noise [members, latents, cells] to the log importance weight of one sample, nats: [members, cells]."""
        q, p = self.encode(stack, path), self.prior(stack, path.contexts, path.labels)

        def weight(noise: Tensor) -> Tensor:
            draw = self.map.draw(stack, q, noise)
            return draw.log_ratio(p) - self.observation.cost(stack, path.counts, self.decode(stack, draw.u))

        return weight

    @torch.no_grad()
    def turn(self, stack: Stack, streams: Streams, epoch: int, cells: Batches) -> bool:
        """Start the linear parts at principal components; re-assign latents to blocks when the curriculum says so."""
        one = len(self.posterior.seen) == 1
        if epoch == 0 and one and self.params.network == "skip":
            self._start(stack, streams)
        if self.curriculum is None or not one:
            return False

        def encode(batch: Batch) -> tuple[Tensor, float]:
            q = self.encode(stack, self.own(stack, batch))
            return self.map.draw(stack, q, streams.normal(*q.mean.shape[1:])).z, 0.0

        return self.curriculum.turn(stack, epoch, cells, encode, lambda order: self._permute(stack, order), self.priors)

    def _start(self, stack: Stack, streams: Streams) -> None:
        """Let linear parts be principal components; where these are the latents themselves, turn them at random."""
        size = self.design.n_latents
        turn = torch.linalg.qr(streams.normal(size, size)).Q if self.map.flow is None else None
        back = self.posterior.start(stack, turn)
        stack.p["decoder_skip.weight"][:, : self.design.n_genes] = back / stack.b["spread"]
        stack.p["decoder_skip.bias"].zero_()

    def _permute(self, stack: Stack, order: Tensor) -> None:
        if self.map.flow is not None:
            self.map.permute(stack, order)
            return
        self.posterior.permute(stack, order)
        for name in nets.beginnings(self.params.network, "decoder"):
            stack.p[name].copy_(taken(stack.p[name], order, 2))


def _first(q: Gaussian, cells: int) -> Gaussian:
    return q if q.mean.shape[2] == cells else Gaussian(q.mean[..., :cells], q.log_sd[..., :cells])
