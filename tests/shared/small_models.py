"""Models small enough to be known exactly, and one of each kind that a diagnostic must take."""

import os
from functools import partial
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae import (
    VAE,
    Chain,
    DataSpec,
    Domain,
    FullRankNormal,
    Gaussian,
    Program,
    StandardNormal,
    build,
    posteriors,
    priors,
)
from ppl_vae.likelihoods import Bernoulli
from ppl_vae.nets import MLP

SMALL = partial(MLP, hidden_dims=[8], activation="tanh")


def some(good) -> bool:
    """Whether any datum is good, or seeds are shifted: then all of a model's q, which nobody fits, may be bad ones."""
    return bool(good.any()) or "PPL_VAE_TEST_SEED" in os.environ


def linear(weight, bias=None):
    """A network factory whose one layer is given."""

    def net(in_shape, out_shape):
        layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
        return nn.Sequential(layer, nn.Unflatten(-1, out_shape))

    return net


class FixedCovariance(FullRankNormal):
    """q(z | x) = N(M x + shift, s^2 C): the exact posterior of probabilistic PCA at s = 1 without a shift."""

    def __init__(self, mean_map, covariance, s=1.0, shift=0.0):
        latent_dim, x_dim = mean_map.shape
        super().__init__((x_dim,), latent_dim, partial(self._net, mean_map))
        self.tril, self.shift = s * torch.linalg.cholesky(covariance), shift

    @staticmethod
    def _net(mean_map, in_shape, out_shape):
        return linear(mean_map)(in_shape, (1, len(mean_map)))

    def distribution(self, params):
        return dist.MultivariateNormal(params[..., 0, :] + self.shift, scale_tril=self.tril)


class PPCA(NamedTuple):
    """Probabilistic PCA: the VAE, data, and what is known of them exactly (float64)."""

    vae: VAE
    x: Tensor
    log_px: Tensor  # (n,)
    weight: Tensor  # (D, L)
    mean: Tensor  # of p(z | x), (n, L)
    covariance: Tensor  # of p(z | x), the same for all x, (L, L)


def ppca(s=1.0, shift=0.0, n=200, dim=5, latent_dim=2, noise=0.5, seed=1, mean_field=False) -> PPCA:
    """With q's scale and mean off by a known amount; `mean_field`: the best q with a diagonal covariance."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(dim, latent_dim, generator=g).double()
    precision = torch.eye(latent_dim).double() + weight.T @ weight / noise**2
    covariance = torch.linalg.inv(precision)
    mean_map = covariance @ weight.T / noise**2
    q_covariance = torch.diag(1 / precision.diagonal()) if mean_field else covariance
    posterior = FixedCovariance(mean_map, q_covariance, s, shift)
    likelihood = Gaussian(latent_dim, (dim,), linear(weight), scale=noise)
    vae = VAE(StandardNormal(latent_dim), likelihood, posterior).double()
    marginal = dist.MultivariateNormal(
        torch.zeros(dim).double(), weight @ weight.T + noise**2 * torch.eye(dim).double()
    )
    x = torch.randn(n, latent_dim, generator=g).double() @ weight.T + noise * torch.randn(n, dim, generator=g).double()
    return PPCA(vae, x, marginal.log_prob(x), weight, x @ mean_map.T, covariance)


def two_modes(noise=0.1):
    """x = z^2 + noise with q on the positive mode alone: half of p(x) is missing, and no weight shows it."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z**2, noise), obs=x)

    def guide(x):
        root = x.clamp_min(0.01).sqrt()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(root, 1.1 * noise / (2 * root)))

    return Program(model, guide)


class Case(NamedTuple):
    """A program and what it is called with."""

    program: nn.Module
    x: Tensor
    context: tuple[Tensor, ...] = ()
    mask: Any = True

    @property
    def args(self):
        return (self.program, self.x, *self.context)


def _moved(program, seed=1):
    """Weights away from their start."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in program.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return program


def _binary(n, shape=(1, 4, 4)):
    return torch.rand(n, *shape).round().double()


def _built(n=6, context=False, **choice):
    torch.manual_seed(0)
    said = DataSpec((1, 4, 4), Domain("binary"), ((3,),) if context else ())
    vae = build(said, latent_dim=2, likelihood=Bernoulli, encoder=SMALL, decoder=SMALL, **choice)
    labels = (torch.eye(3)[torch.arange(n) % 3].double(),) if context else ()
    return Case(_moved(vae.double()), _binary(n), labels)


def diagonal(n=6):
    return _built(n)


def flow(n=6):
    return _built(n, posterior=partial(posteriors.IAF, num_transforms=2, hidden_dim=6))


def vamp(n=6):
    return _built(n, prior=partial(priors.VampPrior, num_components=3))


def coupling(n=6):
    return _built(n, prior=priors.RealNVP)


def conditional(n=6):
    return _built(n, context=True)


def masked(n=6):
    case = _built(n)
    return case._replace(mask=torch.rand(case.x.shape) < 0.7)


def hierarchy(n=6):
    """Two levels of one unit each, z2 above z1; two latent dimensions in all."""
    torch.manual_seed(0)
    prior = Chain(StandardNormal(1, site="z2"), priors.ConditionalNormal(1, SMALL, context=[(1,)], site="z1"))
    posterior = Chain(posteriors.DiagonalNormal((1, 4, 4), 1, SMALL, site="z2"), _Above((1, 4, 4), 1, SMALL, site="z1"))
    return Case(_moved(VAE(prior, Bernoulli(1, (1, 4, 4), SMALL), posterior).double()), _binary(n))


class _Above(posteriors.DiagonalNormal):
    """q(z1 | z2, x): the level above and the data are seen together."""

    def __init__(self, x_shape, latent_dim, net, site):
        super().__init__((1,), latent_dim, net, context=[x_shape], site=site)


def two_sites(n=6):
    """Plain Pyro functions: a real latent and a positive one, of which the second scales the data."""

    def model(x, mask=True):
        with pyro.plate("data", len(x), dim=-1):
            loc = pyro.sample("loc", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            scale = pyro.sample("scale", dist.Gamma(torch.tensor(3.0, dtype=x.dtype), 2.0))
            fn = dist.Normal(loc.unsqueeze(-1), scale.unsqueeze(-1).expand(*scale.shape, x.shape[-1]))
            pyro.sample("x", fn.mask(mask).to_event(1), obs=x)

    def guide(x, mask=True):
        spread = pyro.param("spread", torch.tensor(0.4, dtype=x.dtype), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("loc", dist.Normal(x.mean(-1) * 0.9, spread))
            pyro.sample("scale", dist.LogNormal(x.std(-1).log(), spread))

    torch.manual_seed(0)
    return Case(Program(model, guide), torch.randn(n, 5).double() * 1.2 + 0.3)


CASES = [diagonal, flow, vamp, conditional, masked, hierarchy, two_sites]
