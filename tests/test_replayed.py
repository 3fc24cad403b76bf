"""Functions of tensors replayed as graphs: the same numbers, random ones drawn anew, and reasons where not."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from ppl_vae.captured import functional
from ppl_vae.replayed import Replayed

CALLS = 6


def called(function, batches, seed=0):
    torch.manual_seed(seed)
    return [[t.clone() for t in function(*batch)] for batch in batches]


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))


def loss_of(net):
    """Loss and gradients as a function of x, parameters and buffers; what they are now."""
    names = [n for n, _ in net.named_parameters()] + [n for n, _ in net.named_buffers()]
    trained = len(list(net.parameters()))

    def f(x, *tensors):
        leaves = [t.detach().requires_grad_() for t in tensors[:trained]]
        with torch.enable_grad(), functional(net, dict(zip(names, [*leaves, *tensors[trained:]], strict=True))):
            loss = (net(x) + torch.randn(len(x), 1)).square().sum()
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    return f, lambda: [*net.parameters(), *net.buffers()]


def test_replayed_is_called_to_the_bit_with_new_random_numbers_and_batch_statistics():
    results = []
    for replayed in (False, True):
        net = network()
        f, now = loss_of(net)
        function = Replayed(f) if replayed else f
        torch.manual_seed(0)
        batches = [(torch.randn(7, 5), *now()) for _ in range(CALLS)]
        results.append((called(function, batches), [b.clone() for b in net.buffers()], torch.get_rng_state()))
    assert function.reason is None
    assert function.replays == CALLS - 3  # one as it is, two trials
    (plain, statistics, state), (found, also, same) = results
    assert all(torch.equal(a, b) for each in zip(plain, found, strict=True) for a, b in zip(*each, strict=True))
    assert all(map(torch.equal, statistics, also))
    assert torch.equal(state, same)
    assert len({float(each[0]) for each in found}) == CALLS


def test_each_shape_has_a_graph_of_its_own_up_to_a_number():
    function = Replayed(lambda x: [x.mean(0)], most=2)
    for _ in range(4):
        for size in (3, 4, 5):
            x = torch.randn(size, 2)
            assert torch.equal(function(x)[0], x.mean(0))
    assert function.replays == 2
    assert function.reason is None


def test_no_graph_is_made_for_few_calls():
    function = Replayed(lambda x: [x + 1], after=3, trials=1)
    for size, calls in ((2, 5), (4, 3)):
        for _ in range(calls):
            assert torch.equal(function(torch.zeros(size))[0], torch.ones(size))
    assert function.replays == 1  # of the first shape: three as they are, a trial
    assert [kept.graph for kept in function._kept.values()].count(None) == 1


def test_numbers_taken_out_of_tensors_change_from_call_to_call():
    function = Replayed(lambda x: [2 * x.sum().item() * torch.ones(2)])
    for _ in range(CALLS):
        x = torch.randn(3)
        assert float(function(x)[0][0]) == pytest.approx(2 * float(x.sum()))
    assert function.replays == CALLS - 3


def test_an_argument_given_again_to_be_compared_is():
    function, offset = Replayed(lambda x: [x + offset[0]]), [1.0]
    for _ in range(CALLS):
        function(torch.zeros(2))
    offset[0] = 2.0  # Python's numbers are constants of the graph
    assert function(torch.zeros(2))[0][0] == 1
    assert function(torch.zeros(2), again=True)[0][0] == 2
    assert "depends on more than its arguments" in function.reason
    assert function(torch.zeros(2))[0][0] == 2


class Counting:
    calls = 0

    def __call__(self, x):
        self.calls += 1
        return [x * self.calls]


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda x: [x if x.sum() > 0 else -x], "its control flow or its shapes depend on values"),
        (lambda x: [x * float(np.exp(x.detach().numpy()).sum())], "it computes with arrays of NumPy"),
        (Counting(), "it depends on more than its arguments"),
        (lambda x: [x * random.random()], "it depends on more than its arguments"),
    ],
    ids=["branch", "numpy", "counter", "python's random numbers"],
)
def test_what_cannot_be_replayed_is_called_as_it_is(f, reason):
    function = Replayed(f)
    for _ in range(CALLS):
        assert function(torch.randn(2))[0].shape == (2,)
    assert function.replays == 0
    assert reason in function.reason


def test_a_graph_that_fails_is_given_up_and_the_error_is_the_functions_own():
    table = torch.randn(3, 2)
    function = Replayed(lambda index: [table[index]])
    for _ in range(CALLS):
        function(torch.tensor([0, 2]))
    with pytest.raises(IndexError, match="out of bounds"):
        function(torch.tensor([0, 3]))
    assert "failed on other data" in function.reason
