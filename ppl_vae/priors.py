"""Priors p(z), or p(z | context)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from ppl_vae.codebook import CodeMass
from ppl_vae.conditional import Amortized, Conditional
from ppl_vae.distributions import AutoregressiveFlow, DiagonalNormal, Improper, Mixture, positive, unconstrained

__all__ = ["CodePrior", "Flat", "FlowPrior", "GaussianMixture", "Laplace", "Prior", "StandardNormal", "VampPrior"]

Shape = Sequence[int]


class Prior(Conditional):
    """p(z), or p(z | context); the base of every prior.

    `build` gives a prior whichever of `latent_dim`, `x_shape`, `context`, `posterior` and `pseudo_inputs` its
    constructor names. One that has a method `start_from(z)` is moved by it to where values z (n, latent_dim) lie,
    before `fit_prior` fits it to such.
    """


class StandardNormal(Prior):
    """p(z) = N(z; 0, I).

    Parameters
    ----------
    latent_dim
        Dimension of z.
    site
        Name of the Pyro sample site.

    Examples
    --------
    >>> round(StandardNormal(2).given().log_prob(torch.zeros(2)).item(), 4)
    -1.8379
    """

    loc: Tensor

    def __init__(self, latent_dim: int, site: str = "z") -> None:
        super().__init__(site)
        self.register_buffer("loc", torch.zeros(latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior, whatever the context."""
        return DiagonalNormal(self.loc, torch.ones_like(self.loc))


class Laplace(Prior):
    """p(z) = prod_i Laplace(z_i; 0, 1 / sqrt(2)): unit variance, and codes pushed towards exact zeros.

    With a `Point` posterior it makes an L1-regularized, sparse autoencoder.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    site
        Name of the Pyro sample site.
    """

    loc: Tensor

    def __init__(self, latent_dim: int, site: str = "z") -> None:
        super().__init__(site)
        self.register_buffer("loc", torch.zeros(latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The prior, whatever the context."""
        return dist.Laplace(self.loc, torch.full_like(self.loc, 0.5**0.5)).to_event(1)


class GaussianMixture(Prior):
    """p(z) = sum_k w_k N(z; m_k, diag(s_k^2)), everything learned.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    num_components
        Number of components.
    site
        Name of the Pyro sample site.
    """

    def __init__(self, latent_dim: int, num_components: int = 10, site: str = "z") -> None:
        super().__init__(site)
        _check_components(num_components)
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(torch.randn(num_components, latent_dim))
        self.raw_scale = nn.Parameter(torch.zeros(num_components, latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The mixture, whatever the context."""
        return Mixture(self.logits, DiagonalNormal(self.loc, positive(self.raw_scale)))

    def start_from(self, z: Tensor) -> None:
        """Begin where expectation maximization ends, scikit-learn's, by torch's random numbers of the moment.

        Raises
        ------
        ValueError
            For fewer values than components.
        """
        from sklearn import mixture

        if len(z) < len(self.logits):
            raise ValueError(
                f"GaussianMixture expects a datum or more for each component to start from, got {len(z)} data and "
                f"{len(self.logits)} components; give num_components={len(z)} at most, or more data"
            )
        loc, scale, seed = z.mean(0), z.std(0, correction=0).clamp_min(1e-6), int(torch.randint(2**31, ()))
        em = mixture.GaussianMixture(len(self.logits), covariance_type="diag", max_iter=1000, random_state=seed)
        found = em.fit(((z - loc) / scale).double().cpu().numpy())
        with torch.no_grad():
            self.logits.copy_(torch.as_tensor(found.weights_).log())
            self.loc.copy_(loc + scale * torch.as_tensor(found.means_).to(z))
            self.raw_scale.copy_(unconstrained(scale * torch.as_tensor(found.covariances_).sqrt().to(z)))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.logits))


class VampPrior(Prior):
    """p(z) = sum_k w_k q(z | u_k): a mixture of posteriors at learned pseudo-inputs.

    It calls the posterior it is given and does not own it. Not for a `Point` posterior, whose mixture has an
    infinite density.

    Parameters
    ----------
    posterior
        The posterior q whose `given` makes the components.
    x_shape
        Shape of one datum.
    num_components
        Number of pseudo-inputs.
    pseudo_inputs
        Data to start from, (n, *x_shape), as the encoder sees them; the first `num_components` are used, and
        random numbers for what is missing.
    weighted
        Whether the weights are learned too; equal ones, as in the paper, otherwise.
    site
        Name of the Pyro sample site.

    References
    ----------
    Tomczak & Welling 2018, arXiv:1705.07120.
    """

    def __init__(
        self,
        posterior: Amortized,
        x_shape: Shape,
        num_components: int = 500,
        pseudo_inputs: Tensor | None = None,
        weighted: bool = False,
        site: str = "z",
    ) -> None:
        super().__init__(site)
        _check_components(num_components)
        self._components = posterior.given  # the bound method, so that the posterior is not registered twice
        inputs = torch.rand(num_components, *x_shape)
        if pseudo_inputs is not None:
            inputs[: len(pseudo_inputs)] = pseudo_inputs[:num_components].to(inputs)
        self.pseudo_inputs = nn.Parameter(inputs)
        self.logits = nn.Parameter(torch.zeros(num_components), requires_grad=weighted)

    def given(self, *context: Tensor) -> TorchDistribution:
        """The mixture of q(z | u_k, context), the context (*leading, c) shared by the components."""
        shared = (c.unsqueeze(1) for c in context)  # (batch, 1, ...) against (K, *x_shape)
        return Mixture(self.logits, self._components(self.pseudo_inputs, *shared))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.pseudo_inputs))


class FlowPrior(Prior):
    """p(z) = N(f(z); 0, I) |det df/dz|, f a learned autoregressive flow, conditioned on the context if there is any.

    The flow runs from z to the noise, so that a density costs one pass and a sample `latent_dim`.

    Parameters
    ----------
    latent_dim
        Dimension of z, at least 2.
    num_transforms
        Number of autoregressive transforms.
    hidden_dim
        Width of their networks.
    context
        Shapes of the context, each (c,).
    site
        Name of the Pyro sample site.

    References
    ----------
    Papamakarios et al. 2017, arXiv:1705.07057.
    """

    loc: Tensor

    def __init__(
        self,
        latent_dim: int,
        num_transforms: int = 4,
        hidden_dim: int = 64,
        context: Sequence[Shape] = (),
        site: str = "z",
    ) -> None:
        super().__init__(site)
        self.register_buffer("loc", torch.zeros(latent_dim))
        self.flow = AutoregressiveFlow(latent_dim, sum(shape[0] for shape in context), num_transforms, hidden_dim)

    def given(self, *context: Tensor) -> TorchDistribution:
        """The flow's density given the context."""
        base = DiagonalNormal(torch.zeros_like(self.loc), torch.ones_like(self.loc))
        transforms = self.flow.transforms(torch.cat(context, -1) if context else None)
        if context:
            base = base.expand(context[0].shape[:-1])
        shift = dist.transforms.AffineTransform(self.loc, 1.0, event_dim=1)
        return dist.TransformedDistribution(base, [*(t.inv for t in reversed(transforms)), shift])

    def start_from(self, z: Tensor) -> None:
        """Begin as a normal with their means and standard deviations, about."""
        self.loc.copy_(z.mean(0))
        self.flow.start_from(z.std(0, correction=0).clamp_min(1e-6))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.flow.nets))


class CodePrior(Prior):
    """p(z) = prod over groups of w_g(z_g), a mass over the codes of a `VectorQuantized` posterior.

    It calls the posterior it is given and does not own it, as the posterior's codebook is its support.

    Parameters
    ----------
    posterior
        The `VectorQuantized` posterior.
    weighted
        Whether the weights of the codes, of each group its own, are learned too; 1 / K otherwise.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For another posterior, which has no codes.

    References
    ----------
    van den Oord et al. 2017, arXiv:1711.00937.
    """

    def __init__(self, posterior: Any, weighted: bool = False, site: str = "z") -> None:
        super().__init__(site)
        if not hasattr(posterior, "over_codes"):
            raise ValueError(
                f"CodePrior expects a VectorQuantized posterior, got {type(posterior).__name__}, which has no codes; "
                "use VectorQuantized, or another prior"
            )
        # the bound method, so that the posterior is not registered twice
        self._over_codes: Callable[[Tensor], CodeMass] = posterior.over_codes
        self.logits = nn.Parameter(torch.zeros(posterior.groups, posterior.num_codes), requires_grad=weighted)

    def given(self, *context: Tensor) -> CodeMass:
        """The mass, whatever the context."""
        return self._over_codes(self.logits)

    def start_from(self, z: Tensor) -> None:
        """Begin with the shares of the codes in each group, one added to each count."""
        with torch.no_grad():
            self.logits.copy_((self.given().matches(z).sum(0) + 1).log())

    def settings(self) -> str:
        """What `formula` adds."""
        return " x ".join(map(str, self.logits.shape))


class Flat(Prior):
    """p(z) = 1, improper. With a `Point` posterior the ELBO is the reconstruction log-likelihood: an autoencoder.

    Nothing can be sampled from it, and with a posterior that has a density the ELBO would be no bound.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    site
        Name of the Pyro sample site.
    """

    def __init__(self, latent_dim: int, site: str = "z") -> None:
        super().__init__(site)
        self.latent_dim = latent_dim

    def given(self, *context: Tensor) -> TorchDistribution:
        """The improper density."""
        return Improper(constraints.real_vector, (), (self.latent_dim,))


def _check_components(num: int) -> None:
    if num < 1:
        raise ValueError(f"a mixture expects num_components of 1 or more, got {num}; give at least 1")
