"""Posteriors of discrete latents: summed over, drawn, or drawn with the gradient of a relaxation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import MOST_STATES, Bits, OneHots
from ppl_vae.distributions.discrete import categories
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["Bernoulli", "Categorical"]

Shape = Sequence[int]
Gradient = Literal["score", "straight-through", "enumerate"]


class _Discrete(Posterior):
    """A posterior whose gradient by q is one of three."""

    def _how(self, gradient: Gradient, temperature: float, states: int) -> None:
        """Remember how the gradient is computed.

        Raises
        ------
        ValueError
            For more joint states than can be summed over.
        """
        if gradient == "enumerate" and states > MOST_STATES:
            raise ValueError(
                f"{type(self).__name__} expects at most {MOST_STATES} joint states to sum over, whose number is "
                f"exponential in that of the latents, got {states}; give fewer latents, or gradient='straight-through'"
            )
        self.gradient = gradient
        self.temperature = temperature if gradient == "straight-through" else None
        if gradient == "enumerate":
            self.infer = {"enumerate": "parallel"}  # type: ignore[misc]

    def settings(self) -> str:
        """What `formula` adds."""
        return self.gradient if self.temperature is None else f"{self.gradient} {self.temperature:g}"


@checked
class Bernoulli(_Discrete):
    """q(z | x) = prod_i Bernoulli(z_i; p_i(x)) of zeros and ones; with `priors.Bernoulli`.

    The gradient by q is the score function's ("score": unbiased, of a large variance; `Trace_ELBO`, or `RWS`, which
    does without it), that of a relaxation of the draws ("straight-through": biased, of a small variance, and with any
    objective that asks for reparametrized draws), or exact, by a sum over all 2^latent_dim states ("enumerate", with
    `TraceEnum_ELBO` alone). The value of an objective is the same for all three: z is discrete.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    gradient
        ``"score"``, ``"straight-through"`` or ``"enumerate"``; with the last latent_dim is 12 at most.
    temperature
        Of the relaxation, for ``"straight-through"``: below 1 its bias is smaller and its variance larger.
    context, site
        See `Posterior`.

    Raises
    ------
    ValueError
        For more than 4,096 states to sum over.

    References
    ----------
    Mnih & Gregor 2014, arXiv:1402.0030 (score function); Bengio et al. 2013, arXiv:1308.3432, and Jang et al. 2017,
    arXiv:1611.01144 (straight-through).
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        gradient: Gradient = "score",
        temperature: Positive = 1.0,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self._how(gradient, temperature, 2**latent_dim)

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From logits, (*leading, 1, latent_dim)."""
        return Bits(params[..., 0, :], self.temperature)


@checked
class Categorical(_Discrete):
    """q(z | x) = prod_i w_i(k_i; x) of num_latents one-hot vectors, concatenated; with `priors.Categorical`.

    For the gradient by q see `Bernoulli`. A sum ("enumerate") has K^num_latents terms of K = latent_dim / num_latents.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    num_latents
        Number of latents; it divides latent_dim.
    gradient
        ``"score"``, ``"straight-through"`` or ``"enumerate"``.
    temperature
        Of the relaxation, for ``"straight-through"``.
    context, site
        See `Posterior`.

    Raises
    ------
    ValueError
        For num_latents that does not divide latent_dim, or leaves each latent one category, and for more than 4,096
        states to sum over.

    References
    ----------
    Jang et al. 2017, arXiv:1611.01144.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        num_latents: Count = 1,
        gradient: Gradient = "score",
        temperature: Positive = 1.0,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        self.num_latents = num_latents
        num = categories("Categorical", latent_dim, num_latents)
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self._how(gradient, temperature, num**num_latents)

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From unnormalized log weights, (*leading, 1, latent_dim)."""
        return OneHots(params[..., 0, :].unflatten(-1, (self.num_latents, -1)), self.temperature)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"{self.num_latents} x {self.latent_dim // self.num_latents}; {super().settings()}"
