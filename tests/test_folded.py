"""Graphs in which all is computed once that does not depend on the arguments."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from ppl_vae.captured import NotCaptured
from ppl_vae.folded import folded
from ppl_vae.replayed import Replayed

x = torch.linspace(-1, 1, 6).reshape(2, 3)


def operations(graph):
    return [node for node in graph.graph.nodes if node.op == "call_function"]


def test_constants_are_computed_once_and_results_are_the_same_to_the_bit():
    torch.manual_seed(0)
    net, calls = nn.Linear(3, 3), []
    net.register_forward_hook(lambda *_: calls.append(1))

    def f(u):
        return [u * net(x).exp().sum(0), torch.zeros_like(u)]

    graph = folded(f, torch.ones(4, 3))
    u = torch.randn(4, 3)
    assert all(map(torch.equal, graph(u), f(u)))
    assert len(calls) == 2
    assert len(operations(graph)) == 1  # the product alone


def test_control_flow_on_constants_is_kept_and_on_arguments_refused():
    def by(values):
        return lambda u: [u + 1 if bool((values(u) > 0).any()) else u - 1]

    assert torch.equal(folded(by(lambda u: x), -x)(x)[0], x + 1)
    with pytest.raises(NotCaptured, match="depend on values"):
        folded(by(lambda u: u), x)
    with pytest.raises(NotCaptured, match="depend on values"):
        folded(lambda u: [u[u > 0]], x)


def test_random_numbers_are_drawn_anew_and_as_without_a_graph():
    def f(u):
        np.random.rand(random.randint(1, 3))
        return [u + torch.randn(3) + torch.empty(3).uniform_()]

    state, numpy, python = torch.get_rng_state(), np.random.get_state()[2], random.getstate()
    graph = folded(f, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[2], random.getstate()) == (numpy, python)
    drawn = [graph(x)[0] for _ in range(2)]
    torch.set_rng_state(state)
    assert all(map(torch.equal, drawn, [f(x)[0] for _ in range(2)]))


def test_a_tensor_of_others_that_is_changed_is_refused():
    counter = torch.zeros(1)
    with pytest.raises(NotCaptured, match="changes a tensor that is not its own"):
        folded(lambda u: [u + counter.add_(1)], x)


def test_values_read_by_numpy_are_found_out():
    function = Replayed(lambda u: [u * float(u.detach().numpy().sum())], by=folded)
    for number in range(6):
        u = x + number
        torch.testing.assert_close(function(u)[0], u * u.sum())
    assert "replayed on the same random numbers it differs" in function.reason


def test_memory_of_the_graph_itself_may_change():
    def f(u):
        made = (x * 2).reshape(3, 2)
        made[0].mul_(u.sum())
        placed = x.new_zeros(3)
        placed[torch.tensor([True, False, True])] = u[0, torch.tensor([True, True, False])]
        return [made + 1, placed, x * 2]

    graph = folded(f, x)
    for u in (x + 1, x - 3, x + 1):
        assert all(map(torch.equal, graph(u), f(u)))
    assert torch.equal(x, torch.linspace(-1, 1, 6).reshape(2, 3))


def test_a_view_of_a_tensor_of_others_that_is_changed_is_refused():
    theirs = torch.ones(2, 3)
    with pytest.raises(NotCaptured, match="not its own"):
        folded(lambda u: [theirs.view(6)[:3].add_(u.sum())], x)
