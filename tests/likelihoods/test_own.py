"""Likelihoods and networks of one's own: what they say of themselves, and what is refused."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import Gaussian, Likelihood, build, compare, evaluate
from ppl_vae.data import from_arrays

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
X[::2] = 0.0


class Rain(Likelihood):
    """Zeros, and a normal where there is something."""

    kinds = ("real",)
    base_measure = "mixed"

    def elementwise(self, loc):
        return dist.Normal(loc, 1.0)  # of which the library cannot know


def result(likelihood, data):
    vae = build(data, latent_dim=1, likelihood=likelihood, seed=0)
    return evaluate(vae, data.test, num_samples=30, seed=0, progress=False)


def test_a_mixed_likelihood_is_not_compared_with_a_density():
    data = from_arrays(X)
    own, gaussian = result(Rain, data), result(Gaussian, data)
    assert (own.base_measure, gaussian.base_measure) == ("mixed", "density")
    with pytest.raises(ValueError, match="one base measure, got a mixed for 'rain' and a density for 'gaussian'"):
        compare({"rain": own, "gaussian": gaussian})


def test_a_base_measure_is_one_of_three():
    class Strange(Rain):
        base_measure = "Lebesgue"

    with pytest.raises(ValueError, match=r"Strange\.base_measure expects one of mass, density, mixed, got 'Lebesgue'"):
        build(from_arrays(X), latent_dim=1, likelihood=Strange)


def test_why_data_differ_is_said():
    labels = torch.arange(60) % 2
    data = from_arrays(X, labels)
    whole, given = result(Gaussian, data), result(Gaussian, data.condition_on_labels())
    few = result(Gaussian, data.take(test=3))
    standardized = result(Gaussian, data.standardize())
    with pytest.raises(ValueError, match=r"log p\(x \| c\) is another quantity than log p\(x\): condition both"):
        compare({"a": whole, "b": given})
    with pytest.raises(ValueError, match="one is of 6 data, the other of 3: evaluate both on the same"):
        compare({"a": whole, "b": few})
    assert len(compare({"a": whole, "b": standardized})) == 2  # in raw units


def test_a_network_that_is_not_told_the_context_is_named():
    class Plain(nn.Module):
        def __init__(self, in_shape, out_shape):
            super().__init__()

    data = from_arrays(X, torch.arange(60) % 2).condition_on_labels()
    with pytest.raises(TypeError, match=r"expects a conditioned network to take context=.*unexpected keyword"):
        build(data, latent_dim=1, encoder=Plain)
