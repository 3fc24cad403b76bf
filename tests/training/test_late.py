"""Compiled steps that are launched before it is known whether those before them were finite."""

import pytest
import torch
from torch import nn
from trainings import ADAM, binary, built, equal, fitted

from ppl_vae import compiled, fit
from ppl_vae.assumed import assume
from ppl_vae.distributions import diagonal_normal
from ppl_vae.training import steps

MOST = 5
"""Steps that are launched before they are waited for."""


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Lets the CPU launch steps late; how many there were at each waiting, and the `Steps`."""
    monkeypatch.setattr(compiled, "_lowered", lambda graph, example: graph)
    monkeypatch.setitem(steps.LATE, "cpu", MOST)
    found, settle = [], steps.Steps.settle

    def counted(self):
        found.append(len(self._launched))
        settle(self)

    monkeypatch.setattr(steps.Steps, "settle", counted)
    return found


@pytest.mark.parametrize("case", ["last smaller batch", "FlowPrior and a schedule", "batch norm and dropout", "mask"])
def test_they_are_those_that_are_waited_for(case, settled, monkeypatch):
    call = {"compile": True, "batch_size": 9, "epochs": 3}
    late, found = fitted(case, **call)
    assert max(settled) == MOST
    assert sum(settled) > 10
    monkeypatch.setitem(steps.LATE, "cpu", 0)
    settled.clear()
    waited, expected = fitted(case, **call)
    assert not any(settled)
    assert found.compiled == expected.compiled > 10
    assert equal(late, waited)
    assert found.history.drop(columns="seconds").equals(expected.history.drop(columns="seconds"))


class Infinite(nn.Module):
    """An encoder whose result is infinite on data marked by two at the same place."""

    def __init__(self, in_shape, out_shape):
        super().__init__()
        self.net, self.out_shape = nn.Linear(6, out_shape[0] * out_shape[1]), out_shape

    def forward(self, x):
        marked = (x.sum(-1, keepdim=True) == 6).to(x.dtype)
        return (self.net(x) / (1 - marked)).unflatten(-1, self.out_shape)


def batches(marked):
    """Ten batches, of which some hold a datum that is not finite once encoded."""
    data = [batch.clone() for batch in binary().split(9)]
    for batch in data:
        batch[batch.sum(-1) == 6, 0] = 0.0
    for number in marked:
        data[number][0] = 1.0
    return data


class Data:
    """Good batches in the first three passes, then two that are not finite."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return iter(batches([2, 4]) if self.passes > 3 else batches([]))

    def __len__(self):
        return 10


def test_one_that_is_not_finite_is_named_and_no_later_one_changes_the_weights(settled, monkeypatch):
    trained = []
    for most in (MOST, 0):
        monkeypatch.setitem(steps.LATE, "cpu", most)
        trained.append(built({"encoder": Infinite}))
        with pytest.raises(FloatingPointError, match=r"log q of site 'z' is not finite in epoch \d, batch 3"):
            fit(trained[-1], Data(), epochs=9, optimizer=ADAM, compile=True, progress=False)
        assert max(settled) == MOST
    assert equal(*trained)


def falling(optimizer, number):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.99)


@pytest.mark.parametrize("most", [MOST, 0])
def test_one_that_a_graph_wrongly_takes_for_infinite_is_taken_again_with_those_after_it(most, settled, monkeypatch):
    """The result is that of a training in which nothing was wrong."""
    monkeypatch.setitem(steps.LATE, "cpu", most)
    call = {"compile": True, "batch_size": 9, "epochs": 3, "schedule": falling}
    plain, expected = fitted("batch norm and dropout", torch.float64, **call)

    def wrong(graph, example):
        calls = 0

        def called(*tensors):
            nonlocal calls
            calls += 1
            if calls != 6:  # the eighth step, which two more follow before they are waited for
                return graph(*tensors)
            before = [t.clone() for t in tensors]
            _, values, *found = graph(*tensors)
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
            going = next(t for t in tensors if t.dtype == torch.bool)
            return [going.fill_(False).clone(), values * torch.nan, *found]

        return called

    monkeypatch.setattr(compiled, "_lowered", wrong)
    vae, found = fitted("batch norm and dropout", torch.float64, **call)
    assert (MOST in settled) == bool(most)
    assert found.not_compiled is None
    assert found.compiled == expected.compiled - (3 if most else 1)
    pairs = zip(vae.state_dict().values(), plain.state_dict().values(), strict=True)
    assert all(torch.allclose(p, q, rtol=1e-7, atol=1e-7) for p, q in pairs)
    assert abs(found.history - expected.history).drop(columns="seconds").max(axis=None) < 1e-7


def test_where_an_assumption_fails_nothing_is_taken_twice(settled, monkeypatch):
    """A VampPrior assumes that products are exact; where it is wrong the step is called, from weights as they were."""
    monkeypatch.setattr(diagonal_normal, "_is_exact", lambda loc, scale: assume(torch.rand(()) < 0.8))
    call = {"batch_size": 9, "epochs": 3}
    plain, expected = fitted("VampPrior at beta 2", torch.float64, compile=False, **call)
    vae, found = fitted("VampPrior at beta 2", torch.float64, compile=True, **call)
    assert 0 < found.compiled < 20
    pairs = zip(vae.state_dict().values(), plain.state_dict().values(), strict=True)
    assert all(torch.allclose(p, q, rtol=1e-7, atol=1e-7) for p, q in pairs)
    assert abs(found.history - expected.history).drop(columns="seconds").max(axis=None) < 1e-7
