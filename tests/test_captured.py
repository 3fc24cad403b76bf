"""Functions of tensors as graphs: no random number is drawn, no argument changes, no validation."""

import random

import numpy as np
import pyro
import pytest
import torch

from ppl_vae.captured import NotCaptured, capture


def test_capturing_draws_no_random_numbers_and_changes_no_argument():
    state, numpy, python = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    x = torch.zeros(3)

    def f(x):
        noise = torch.randn(3) + random.random() + np.random.rand()
        return [x.add_(noise)]

    graph = capture(f, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy).all()
    assert random.getstate() == python
    assert not x.any()
    assert graph(x)[0].all()
    assert x.all()


def test_validation_is_off_in_a_graph_alone():
    def f(loc):
        return [pyro.distributions.Normal(loc, 1.0).log_prob(torch.zeros(()))]

    graph = capture(f, torch.zeros(()))
    assert graph(torch.tensor(torch.nan))[0].isnan()
    with pytest.raises(ValueError, match="loc"):
        f(torch.tensor(torch.nan))
    with pytest.raises(NotCaptured, match=r"it cannot be recorded \(RuntimeError: no way\)"):
        capture(broken, torch.zeros(()))


def broken(x):
    raise RuntimeError("no way")
