"""Functions recorded as CUDA graphs: here by a stand-in for CUDA's, which calls the function again."""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from ppl_vae.recorded import Recorded


@pytest.fixture
def recorded(monkeypatch):
    """Makes a `Recorded` whose graph is the function itself; calls of it at a replay are counted in `replays`."""
    made = []

    class Graph:
        replays = 0

        def replay(self):
            self.replays += 1
            for own, value in zip(made[-1]._outputs, made[-1].f(*made[-1]._inputs), strict=True):
                own.copy_(value)

    @contextmanager
    def graph(graph, capture_error_mode):
        before = [t.clone() for t in made[-1]._inputs]
        yield  # CUDA launches nothing here
        for tensor, value in zip(made[-1]._inputs, before, strict=True):
            tensor.copy_(value)

    class Stream:
        def wait_stream(self, other):
            pass

    fake = {"CUDAGraph": Graph, "graph": graph, "Stream": Stream, "current_stream": Stream}
    fake |= {"get_sync_debug_mode": lambda: 0, "set_sync_debug_mode": lambda mode: None}
    for name, value in {**fake, "stream": lambda stream: nullcontext()}.items():
        monkeypatch.setattr(torch.cuda, name, value)

    def make(f):
        made.append(Recorded(f))
        return made[-1]

    return make


def adds(state, x):
    """Adds x to the state, in place, and returns twice x with noise."""
    state.add_(x)
    return [2 * x + torch.randn(3)]


def test_what_stays_is_changed_in_place_and_what_moves_is_copied(recorded):
    g, state = recorded(adds), torch.zeros(3)
    given, results, states = [torch.full((3,), float(n)) for n in range(1, 6)], [], []
    torch.manual_seed(0)
    for x in given:
        results += g(state, x)
        states.append(torch.get_rng_state())
    assert g._graph.replays == 4  # the first call ran the function
    assert torch.equal(state, torch.full((3,), 15.0))
    assert all(torch.equal(x, torch.full((3,), float(n))) for n, x in enumerate(given, 1))
    torch.manual_seed(0)
    for x, result, after in zip(given, results, states, strict=True):
        assert torch.equal(result, 2 * x + torch.randn(3))  # no result was written again
        assert torch.equal(after, torch.get_rng_state())


def test_another_tensor_in_the_place_of_one_that_stayed_is_recorded_anew(recorded):
    g, state, x = recorded(lambda state, x: [state + x]), torch.zeros(3), torch.ones(3)
    for _ in range(3):
        assert torch.equal(g(state, x)[0], torch.ones(3))
    other = torch.full((3,), 5.0)
    assert all(torch.equal(g(other, x)[0], torch.full((3,), 6.0)) for _ in range(4))
    assert g._graph is not None
    assert torch.equal(state, torch.zeros(3))


def test_a_tensor_that_moves_and_is_changed_is_called_as_it_is(recorded):
    g = recorded(adds)
    states = [torch.zeros(3) for _ in range(4)]
    with pytest.warns(UserWarning, match=r"launched one by one.*in place"):
        found = [g(state, torch.ones(3)) for state in states]
    assert len(found) == 4
    assert all(torch.equal(state, torch.ones(3)) for state in states)
    assert g.reason == "it changes a tensor in place that is another one in every call"


def test_a_function_that_cannot_be_recorded_is_called_as_it_is(recorded):
    calls = []

    def f(x):
        calls.append(1)
        if len(calls) == 3:  # in the place of the call that is recorded
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return [x + 1]

    g = recorded(f)
    with pytest.warns(UserWarning, match=r"not permitted when stream is capturing$"):
        found = [g(torch.ones(2))[0] for _ in range(4)]
    assert all(torch.equal(each, torch.full((2,), 2.0)) for each in found)
