"""The basis in which shifts are sparse, and that turning a network into it changes nothing it says of counts."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from _tiny import batch_of, member, params_of, stack_of, streams, world
from scident import registry
from scident.models import svae_plus
from scident.models._rotation import rotate, sparse_rotation
from scident.models._sparse_prior import FIRST_LOGIT

LATENTS, PERTURBATIONS = 3, 6
HYPER = {"warmup_epochs": 4, "beta": 1.0, "scale": 160.0, "penalty": 10.0, "n_train": 160.0}


@pytest.fixture(scope="module")
def place():
    return world(genes=20, latents=LATENTS, perturbations=PERTURBATIONS)


def sparse_shifts(rng, perturbations=60, latents=5):
    on = rng.random((perturbations, latents)) < 0.25
    return on * rng.choice([-1, 1], on.shape) * rng.normal(5, 0.5, on.shape)


def haar(rng, size):
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def network(**params):
    return svae_plus.SVAEPlusNetwork(svae_plus.Params(width=8, **params), 20, LATENTS, PERTURBATIONS)


def no_cells():
    raise AssertionError("the rotation looks at no cells")


def starts(rng, members, restarts, latents):
    return torch.from_numpy(rng.standard_normal((members, restarts, latents, latents)))


def test_turned_and_moved_sparse_shifts_are_found_again():
    rng = np.random.default_rng(0)
    true = [sparse_shifts(rng), sparse_shifts(rng)]
    seen = torch.ones(2, 60)
    mixed = np.stack([(s + rng.normal(size=5)) @ haar(rng, 5) for s in true])
    q, c = sparse_rotation(torch.from_numpy(mixed), seen, starts(rng, 2, 8, 5))
    torch.testing.assert_close(q.mT @ q, torch.eye(5, dtype=torch.float64).expand(2, 5, 5))
    for k in range(2):
        found = (torch.from_numpy(mixed[k]) @ q[k] - c[k]).numpy()
        overlap = np.abs(np.corrcoef(true[k].T, found.T)[:5, 5:])
        assert sorted(overlap.argmax(1)) == list(range(5))
        assert overlap.max(1).min() > 0.99
        assert (np.abs(found) > 1).mean() == pytest.approx((np.abs(true[k]) > 1).mean(), abs=0.02)


def test_perturbations_without_cells_do_not_count():
    rng = np.random.default_rng(1)
    shifts = sparse_shifts(rng) @ haar(rng, 5)
    shifts[50:] = 100 * rng.standard_normal((10, 5))
    seen = (torch.arange(60) < 50).double()[None]
    first = starts(rng, 1, 4, 5)
    q, c = sparse_rotation(torch.from_numpy(shifts)[None], seen, first)
    shifts[50:] = 0
    again, offset = sparse_rotation(torch.from_numpy(shifts)[None], seen, first)
    torch.testing.assert_close(q, again)
    torch.testing.assert_close(c, offset)


def test_members_are_searched_apart():
    rng = np.random.default_rng(2)
    shifts = torch.from_numpy(np.stack([sparse_shifts(rng) @ haar(rng, 5) for _ in range(2)]))
    first, seen = starts(rng, 2, 3, 5), torch.ones(2, 60)
    together = sparse_rotation(shifts, seen, first)
    alone = sparse_rotation(shifts[1:], seen[1:], first[1:])
    torch.testing.assert_close(together[0][1:], alone[0])
    torch.testing.assert_close(together[1][1:], alone[1])


def test_a_turned_network_says_the_same_of_counts(place):
    net = network(rotate_after=5)
    stack = stack_of(net, HYPER)
    batch = batch_of(place.train, list(range(12)))
    rng = np.random.default_rng(3)
    q = torch.from_numpy(haar(rng, LATENTS))[None]
    c = torch.from_numpy(rng.standard_normal((1, LATENTS)))
    with torch.no_grad():
        mean, _ = net.encode(stack, batch)
        decoded, prior = net.decode(stack, mean, training=False), stack.p["shift"].clone()
        rotate(stack, q, c)
        turned, _ = net.encode(stack, batch)
        torch.testing.assert_close(turned, q.mT @ mean - c[:, :, None])
        torch.testing.assert_close(net.decode(stack, turned, training=False), decoded)
        # distances to the prior means, and so the KL but for the variances, stay
        labels = batch.labels[0]
        before = ((mean[0].T - prior[0][labels]) ** 2).sum(1)
        after = ((turned[0].T - stack.p["shift"][0][labels]) ** 2).sum(1)
        torch.testing.assert_close(after, before)


def test_equal_variances_are_blind_to_the_rotation(place):
    net = network(rotate_after=5)
    stack = stack_of(net, HYPER)
    batch = batch_of(place.train, list(range(12)))
    with torch.no_grad():
        stack.p["log_variance.weight"].copy_(stack.p["log_variance.weight"][:, :1].expand(1, LATENTS, 8))
        stack.p["log_variance.bias"].fill_(-1.0)
        _, before = net.encode(stack, batch)
        rotate(
            stack,
            torch.from_numpy(haar(np.random.default_rng(4), LATENTS))[None],
            torch.zeros(1, LATENTS, dtype=torch.float64),
        )
        _, after = net.encode(stack, batch)
    torch.testing.assert_close(after, before)


def test_the_penalty_waits_for_the_rotation_and_the_masks_start_again(place):
    net = network(rotate_after=3)
    stack = stack_of(net, HYPER)
    stack.b["seen"].fill_(1)
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    with torch.no_grad():
        stack.p["mask_logits"].fill_(-1.0)
    effective = stack.p["shift"].detach() * torch.sigmoid(torch.tensor(-1.0, dtype=torch.float64))
    assert float(net.weigh(stack, zero, one).detach()) == 0
    assert not net.turn(stack, streams(0), 2, no_cells)
    assert net.turn(stack, streams(0), 3, no_cells)
    assert float(net.weigh(stack, zero, one).detach()) > 0
    assert (stack.p["mask_logits"] == FIRST_LOGIT).all()
    # the turned shifts have the distances between perturbations that the masked ones had
    torch.testing.assert_close(
        torch.cdist(stack.p["shift"].detach(), stack.p["shift"].detach()), torch.cdist(effective, effective)
    )
    assert not net.turn(stack, streams(0), 4, no_cells)


def test_without_a_rotation_there_is_nothing_to_remember():
    assert set(network().buffers()).isdisjoint({"seen", "rotated"})
    assert set(network(rotate_after=1).buffers()) >= {"seen", "rotated"}


def test_a_member_knows_which_perturbations_have_training_cells(place):
    params = params_of("svae_plus", rotate_after=1, epochs=2)
    (fitted,) = svae_plus.SVAEPlus.fit_members([member(place, params)])
    assert fitted.model.state["seen"].tolist() == [1, 1, 1, 1, 1, 0]
    assert fitted.model.state["rotated"] == 1


@pytest.mark.parametrize("use", ["svae", "svae_plus"])
def test_no_penalty_moves_a_mask_before_the_rotation(place, use):
    module = registry.load("models", use)
    kind = {"svae": "SVAENetwork", "svae_plus": "SVAEPlusNetwork"}[use]
    net = getattr(module, kind)(module.Params(width=8, rotate_after=3), 20, LATENTS, PERTURBATIONS)
    stack = stack_of(net, HYPER)
    one = torch.ones(1, dtype=torch.float64)
    logits = stack.p["mask_logits"]
    (before,) = torch.autograd.grad(net.weigh(stack, one, one).sum(), logits, allow_unused=True)
    assert before is None or (before == 0).all()
    stack.b["seen"].fill_(1)
    net.turn(stack, streams(0), 3, no_cells)
    (after,) = torch.autograd.grad(net.weigh(stack, one, one).sum(), logits)
    assert (after > 0).all()


@pytest.mark.parametrize(
    "late", [{"epochs": 9, "rotate_after": 9}, {"rotate_after": 45}, {"patience": 5, "rotate_after": 6}]
)
def test_a_rotation_that_may_never_come_is_refused(late):
    with pytest.raises(ValidationError, match="rotate earlier"):
        svae_plus.Params(**late)
    assert svae_plus.Params(epochs=0, rotate_after=30).rotate_after == 30
