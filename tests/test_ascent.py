"""Gradient ascent against the maximum of a quadratic, with a datum of no gradient beside it."""

import torch

from ppl_vae.ascent import ascend


def test_each_datum_reaches_its_maximum_and_one_without_a_gradient_stays():
    target, calls = torch.tensor([-1.0, 0.5, float("nan")]).double(), []
    at = torch.zeros(3).double()
    ascend(lambda v: [v - target], [at], num_steps=300, learning_rate=0.1, on_step=lambda: calls.append(1))
    torch.testing.assert_close(at[:2], target[:2], atol=1e-3, rtol=0)
    assert at[2] == 0
    assert len(calls) == 300
    alone = torch.zeros(1).double()
    ascend(lambda v: [v - target[:1]], [alone], num_steps=300, learning_rate=0.1)
    assert alone.equal(at[:1])
