"""Graphs in which all is computed once that does not depend on the arguments."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from ppl_vae.captured import NotCaptured
from ppl_vae.folded import folded

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


READS = [
    lambda u: float(u.detach().numpy().sum()),
    lambda u: max(map(max, u.tolist())),
    lambda u: float(np.asarray(u.detach()).max()),
    lambda u: float(np.sin((u * 2 + x).numpy()).sum()),
    lambda u: torch.from_numpy(np.sin(torch.randn(3).numpy())),
]


@pytest.mark.parametrize("read", READS)
def test_values_read_outside_of_torch_are_refused(read):
    with pytest.raises(NotCaptured, match="reads values of its arguments"):
        folded(lambda u: [u * read(u)], x)


def test_constants_are_read_outside_of_torch():
    def f(u):
        return [u * float((x * 2).numpy().max()) + len(x.tolist())]

    graph = folded(f, x)
    assert torch.equal(graph(x + 1)[0], f(x + 1)[0])


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


WRITES = {
    "zeros": lambda u: [torch.zeros_like(u).add_(u)],
    "new zeros": lambda u: [x.new_zeros(2, 3).add_(u)],
    "a mask": lambda u: [torch.ones_like(u).masked_fill_(u > 0, 3.0)],
    "split": lambda u: [(x * 2).split(1)[0].mul_(u[:1])],
    "unbind": lambda u: [(x * 2).unbind(-1)[1].mul_(u.sum())],
    "of several results": lambda u: [torch.var_mean(x, -1)[1].add_(u[:, 0])],
}


@pytest.mark.parametrize("write", WRITES)
def test_what_is_written_into_is_made_anew(write):
    f = WRITES[write]
    graph = folded(f, x)
    for u in (x + 1, x - 3, -x, x):
        assert all(map(torch.equal, graph(u), f(u)))


def test_out_is_written_into():
    def f(u):
        made = x * 2
        torch.add(u[0], 1, out=made[0])
        return [made + 1]

    graph = folded(f, x)
    for u in (x + 1, x - 3, x):
        assert all(map(torch.equal, graph(u), f(u)))
