import numpy as np
import torch

from _tiny import CPU
from scident.engine.batches import Cells, chunks
from scident.engine.stack import Stack, constant, fan_in, initial_state, normal

DECLARED = {"a": normal(2, 3), "b": constant(5, 4), "c": fan_in(4, 2, 1)}
BUFFERS = {"mean": constant(0, 3)}


def states(*seeds):
    return [
        initial_state(DECLARED, BUFFERS, {"rate": float(s)}, np.random.SeedSequence(s), torch.float64) for s in seeds
    ]


def test_a_member_comes_out_as_it_went_in():
    put = states(1, 2, 3)
    stack = Stack(put, CPU, torch.float64)
    for k, state in enumerate(put):
        out = stack.member(k)
        assert out.hyper == state.hyper
        assert all(torch.equal(out.parameters[n], state.parameters[n]) for n in DECLARED)
        assert all(torch.equal(out.buffers[n], state.buffers[n]) for n in BUFFERS)


def test_select_keeps_the_chosen_members_in_order():
    stack = Stack(states(1, 2, 3), CPU, torch.float64)
    stack.select([2, 0])
    assert stack.h["rate"].tolist() == [3.0, 1.0]
    assert torch.equal(stack.p["a"][0], states(3)[0].parameters["a"])
    assert len(stack) == 2
    assert all(value.is_leaf and value.requires_grad for value in stack.p.values())


def test_a_copied_member_does_not_move_with_the_stack():
    stack = Stack(states(1), CPU, torch.float64)
    copy = stack.member(0)
    with torch.no_grad():
        stack.p["a"].add_(1)
    assert torch.equal(copy.parameters["a"], states(1)[0].parameters["a"])


def test_first_states_differ_by_seed_and_repeat():
    (a,), (b,), (c,) = states(1), states(1), states(2)
    assert torch.equal(a.parameters["a"], b.parameters["a"])
    assert not torch.equal(a.parameters["a"], c.parameters["a"])


def test_chunks_drop_a_short_last_one():
    assert list(chunks(10, 4)) == [(0, 4), (4, 8), (8, 10)]
    assert list(chunks(10, 4, smallest=3)) == [(0, 4), (4, 8)]
    assert list(chunks(2, 4, smallest=3)) == []


def test_gather_takes_rows_of_each_member_from_all_worlds():
    from scipy import sparse

    counts = [np.arange(6, dtype=np.float32).reshape(3, 2) + 1, np.arange(4, dtype=np.float32).reshape(2, 2) + 10]
    data = Cells([counts[0], sparse.csr_matrix(counts[1])], [np.array([0, 1, 2]), np.array([1, 0])], CPU, torch.float64)
    assert data.offsets.tolist() == [0, 3, 5]
    batch = data.gather(torch.tensor([[0, 2], [4, 3]]))
    assert batch.counts.tolist() == [[[1, 5], [2, 6]], [[12, 10], [13, 11]]]
    assert batch.labels.tolist() == [[0, 2], [0, 1]]
    torch.testing.assert_close(batch.log_library.exp()[:, 0], torch.tensor([[3, 11], [25, 21]], dtype=torch.float64))
    assert len(batch) == 2
