"""Conditional priors of three blocks: which condition gives which row, and how pairs never trained on follow."""

import numpy as np
import pytest
import torch

from _blocks import batch, declared_by, design, labelled
from _tiny import stack_of
from scident.models._design import Design, block_names
from scident.models._moments import Moments
from scident.models._priors import Priors, extrapolated

MEMBERS = 2
D = Design(9, 6, 4, ("a", "b", "c"), "normal", 0, block_names((1, 3, 2), 6))
KINDS = ("tables", "product", "concat")


def made(kind, of=D, seeds=(1, 2)):
    """A stack with every parameter away from where it starts."""
    priors = Priors(kind, of)
    stack = stack_of(declared_by(priors), {}, seeds)
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in stack.p.values():
            value.add_(0.5 * torch.randn(value.shape, generator=g, dtype=value.dtype))
    return priors, stack


def codes(cells=12):
    g = torch.Generator().manual_seed(4)
    sizes = (D.n_contexts, D.n_perturbations)
    return [torch.randint(n, (MEMBERS, cells), generator=g) for n in sizes]


@pytest.mark.parametrize("kind", KINDS)
def test_every_prior_starts_standard_normal(kind):
    priors = Priors(kind, D)
    for value in priors(stack_of(declared_by(priors), {}, (1, 2)), *codes()):
        assert value.shape == (MEMBERS, D.n_latents, 12)
        assert not value.detach().any()


def test_tables_give_each_block_the_row_of_its_own_condition():
    priors, stack = made("tables")
    contexts, labels = codes()
    mean, log_sd = priors(stack, contexts, labels)
    for k in range(MEMBERS):
        for cell in range(12):
            x, t = int(contexts[k, cell]), int(labels[k, cell])
            rows = [stack.p["prior.x"][k, x], stack.p["prior.tx"][k, 4 * x + t], stack.p["prior.t"][k, t]]
            expected = [torch.cat([row.chunk(2)[i] for row in rows]) for i in (0, 1)]
            assert torch.equal(mean[k, :, cell], expected[0])
            assert torch.equal(log_sd[k, :, cell], expected[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_depends_on_its_own_labels_alone(kind):
    priors, stack = made(kind)
    contexts, labels = codes()
    mean, _ = priors(stack, contexts, labels)
    other, _ = priors(stack, contexts, (labels + 1) % 4)
    elsewhere, _ = priors(stack, (contexts + 1) % 3, labels)
    x, tx, t = slice(0, 1), slice(1, 4), slice(4, 6)
    assert torch.equal(mean[:, x], other[:, x])
    assert torch.equal(mean[:, t], elsewhere[:, t])
    for changed, own in ((other, t), (other, tx), (elsewhere, x), (elsewhere, tx)):
        assert bool((mean[:, own] != changed[:, own]).all())


def test_the_product_reads_one_embedding_times_the_other():
    priors, stack = made("product")
    contexts, labels = codes()
    before, _ = priors(stack, contexts, labels)
    with torch.no_grad():  # the product does not change, each factor alone does
        stack.p["prior.context"] *= 2
        for part in ("weight", "bias"):
            stack.p[f"prior.embed.{part}"] /= 2
    after, _ = priors(stack, contexts, labels)
    torch.testing.assert_close(after[:, 1:4], before[:, 1:4], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(after[:, 0], before[:, 0])


@pytest.mark.parametrize("kind", ["product", "concat"])
def test_the_control_is_an_all_zero_treatment(kind):
    priors, stack = made(kind)
    contexts, labels = codes()
    before = priors(stack, contexts, torch.zeros_like(labels))
    with torch.no_grad():
        stack.p["prior.perturbation"][:, D.control] += 5
    after = priors(stack, contexts, torch.zeros_like(labels))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_members_do_not_touch_each_other(kind):
    priors, stack = made(kind)
    contexts, labels = codes()
    before = priors(stack, contexts, labels)
    with torch.no_grad():
        for value in stack.p.values():
            value[1] += 1
    after = priors(stack, contexts, labels)
    assert all(torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1]) for a, b in zip(before, after, strict=True))


def nll(priors, stack, z, contexts, labels):
    mean, log_sd = priors(stack, contexts, labels)
    return -torch.distributions.Normal(mean, log_sd.exp()).log_prob(z).sum(1).mean(1)


def test_tables_at_the_moments_of_latents_cannot_be_beaten():
    """The negative log-likelihood there is the costs' sum + d/2 (1 + log 2π), and its slope is zero."""
    z, contexts, labels = labelled()
    moments = Moments.of([(batch(z, contexts, labels), z, 0.0)], design())
    priors, stack = made("tables", design())
    priors.reset(stack, moments)
    found = nll(priors, stack, z, contexts, labels)
    own = [("x", "tx", "t").index(block) for block in design().blocks]
    costs = moments.costs()[:, range(len(own)), own].sum(1)
    torch.testing.assert_close(found, costs + len(own) / 2 * (1 + np.log(2 * np.pi)), rtol=1e-10, atol=1e-10)
    for slope in torch.autograd.grad(found.sum(), list(stack.p.values())):
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["product", "concat"])
def test_networks_start_anew_at_the_moments_of_all_cells(kind):
    z, contexts, labels = labelled()
    priors, stack = made(kind, design())
    priors.reset(stack, Moments.of([(batch(z, contexts, labels), z, 0.0)], design()))
    mean, log_sd = priors(stack, contexts, labels)
    torch.testing.assert_close(mean, z.mean(2, keepdim=True).expand_as(mean))
    torch.testing.assert_close(log_sd.exp(), z.std(2, keepdim=True, correction=0).expand_as(mean))


def pairs(rng, width=3):
    """An additive table, [contexts × perturbations, width]."""
    rows, columns = rng.standard_normal((5, 1, width)), rng.standard_normal((1, 7, width))
    return (rows + columns + 2).reshape(-1, width)


def test_an_additive_table_is_completed_exactly():
    rng = np.random.default_rng(0)
    table, trained = pairs(rng), rng.random((5, 7)) < 0.7
    trained[0], trained[:, 0] = True, True
    holed = np.where(trained.reshape(-1, 1), table, 99)
    np.testing.assert_allclose(extrapolated(holed, trained), table, rtol=1e-9)


def test_a_missing_pair_of_a_full_table_is_row_plus_column_minus_grand_mean():
    rng = np.random.default_rng(1)
    table, trained = rng.standard_normal((12, 2)), np.ones((3, 4), dtype=bool)
    trained[:, 3] = False
    found = extrapolated(table, trained).reshape(3, 4, 2)
    known = table.reshape(3, 4, 2)[:, :3]
    np.testing.assert_array_equal(found[:, :3], known)
    # a perturbation of which no pair was trained adds nothing of its own
    np.testing.assert_allclose(found[:, 3], known.mean(1), rtol=1e-9)
