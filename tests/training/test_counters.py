"""The numbers of steps of an optimizer's parameters, counted together."""

import copy

import pytest
import torch

from ppl_vae.training.counters import Counters


@pytest.fixture
def stepped():
    """An optimizer of two groups, one step taken."""
    a, b, c = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = torch.optim.Adam([{"params": [a, b]}, {"params": [c]}], lr=1e-3)
    step(optimizer, a, b, c)
    return optimizer, [a, b, c]


def step(optimizer, *parameters):
    optimizer.zero_grad()
    for p in parameters:
        p.grad = torch.ones_like(p)
    optimizer.step()


def taken(optimizer):
    return [float(state["step"]) for state in optimizer.state.values()]


def test_they_are_those_of_the_optimizer_whoever_steps(stepped):
    optimizer, parameters = stepped
    counters = Counters(optimizer)
    assert counters.read() == [{1.0}, {1.0}]
    counters.add(parameters, 1)
    assert counters.read() == [{2.0}, {2.0}]
    assert taken(optimizer) == [2.0, 2.0, 2.0]
    step(optimizer, *parameters)
    assert counters.read() == [{3.0}, {3.0}]
    counters.add(parameters, -1)
    assert counters.read() == [{2.0}, {2.0}]
    assert taken(optimizer) == [2.0, 2.0, 2.0]


def test_some_are_counted_alone(stepped):
    optimizer, (a, b, c) = stepped
    counters = Counters(optimizer)
    counters.read()
    counters.add([a, b], 1)
    assert counters.read() == [{2.0}, {1.0}]
    counters.add([c], 3)
    assert counters.read() == [{2.0}, {4.0}]
    step(optimizer, a)
    assert counters.read() == [{2.0, 3.0}, {4.0}]
    assert taken(optimizer) == [3.0, 2.0, 4.0]


def test_a_state_that_is_loaded_is_read_again(stepped):
    optimizer, parameters = stepped
    counters = Counters(optimizer)
    counters.read()
    before = copy.deepcopy(optimizer.state_dict())
    counters.add(parameters, 5)
    assert counters.read() == [{6.0}, {6.0}]
    optimizer.load_state_dict(before)
    assert counters.read() == [{1.0}, {1.0}]
    counters.add(parameters, 1)
    assert taken(optimizer) == [2.0, 2.0, 2.0]


def test_an_optimizer_without_counters_has_none():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    step(optimizer, parameter)
    counters = Counters(optimizer)
    assert counters.read() == [set()]
    counters.add([parameter], 1)
    assert counters.read() == [set()]
