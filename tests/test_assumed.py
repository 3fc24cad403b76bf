"""Choices by value: as Python's in a call, assumed in a graph."""

import torch

from ppl_vae.assumed import assume, assuming
from ppl_vae.replayed import Replayed


def root(x):
    return [x.sqrt() if assume((x >= 0).all()) else torch.zeros_like(x)]


def test_a_condition_is_asked_outside_of_graphs_alone():
    assert assume(torch.tensor(True))
    assert not assume(torch.tensor(False))
    with assuming() as conditions:
        assert assume(torch.tensor(False))
    assert [bool(c) for c in conditions] == [False]


def test_a_graph_whose_assumption_fails_is_not_used():
    function = Replayed(root)
    for _ in range(6):
        assert function(torch.ones(3))[0].all()
    for number in range(40):
        x = torch.tensor([1.0, -1.0, 4.0]) * (1 if number % 2 else -1) + torch.tensor([0.0, 3.0, 0.0]) * (number % 3)
        assert torch.equal(function(x)[0], root(x)[0])
    assert "assumes" in function.reason


def test_a_rare_failure_keeps_the_graph():
    function = Replayed(root)
    for number in range(60):
        x = torch.full((2,), 1.0 if number % 20 else -1.0)
        assert torch.equal(function(x)[0], root(x)[0])
    assert function.reason is None
    assert function.replays > 50
