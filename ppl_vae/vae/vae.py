"""The variational autoencoder: two Pyro functions over three components."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import query, verb
from ppl_vae.conditional import Chain
from ppl_vae.corruptions import Corruption
from ppl_vae.domain import Domain
from ppl_vae.isolation import eval_mode, evaluating, recorded, without_store
from ppl_vae.likelihoods import Likelihood
from ppl_vae.posteriors import Posterior
from ppl_vae.priors import Prior

__all__ = ["VAE", "filled"]


class VAE(nn.Module):
    """p(z) p(x | z) and q(z | x), as the Pyro functions `model` and `guide`.

    Parameters
    ----------
    prior
        p(z); several levels as a `Chain`. Called inside the data plate with the context.
    likelihood
        p(x | z); owns the decoder.
    posterior
        q(z | x); owns the encoder. Called inside the data plate with x, as the likelihood standardizes it, and the
        context; any module whose call samples the prior's sites will do.
    corruption
        What the posterior sees in the place of x in `guide`, in train mode: a denoising VAE. The model scores the
        clean x, and everything but training is of the clean x.

    Attributes
    ----------
    recipe
        What `build` was given, ready for JSON; `None` for a VAE put together by hand.

    Examples
    --------
    >>> from ppl_vae import Bernoulli, DiagonalNormal, StandardNormal
    >>> VAE(StandardNormal(2), Bernoulli(2, (1, 8, 8)), DiagonalNormal((1, 8, 8), 2))
    p(x, z) = StandardNormal(z) Bernoulli(x | z)
    q(z | x) = DiagonalNormal
    VAE(...
    """

    recipe: dict[str, Any] | None = None

    def __init__(
        self,
        prior: Prior | Chain,
        likelihood: Likelihood,
        posterior: Posterior | Chain,
        corruption: Corruption | None = None,
    ) -> None:
        super().__init__()
        parts = (prior, likelihood, posterior)
        if any("data" in getattr(part, "sites", [getattr(part, "site", "")]) for part in parts):
            raise ValueError("a VAE expects sites named otherwise than its plate, got 'data'; rename the site")
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior
        self.corruption = corruption

    def model(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True, beta: float = 1.0) -> None:
        """p(x, z | context): x (batch, *x_shape), each context (batch, ...).

        `mask` is False where an element of x is missing; `beta` > 0 scales log p(z).
        """
        self._register()
        with pyro.plate("data", len(x), dim=-1):
            with poutine.scale(scale=beta):
                z = self.prior(*context)
            fn = self.likelihood.given(z, *context, mask=mask)
            pyro.sample(self.likelihood.site, fn, obs=filled(x, mask))

    def guide(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True, beta: float = 1.0) -> None:
        """q(z | x, context); `beta` scales log q(z | x), as it does log p(z) in `model`.

        In train mode, and with a corruption, q(z | x~, context); what is missing is not corrupted.
        """
        self._register()
        seen = self.likelihood.standardize(filled(x, mask))
        if self.corruption is not None:
            seen = torch.where(torch.as_tensor(mask, device=x.device), self.corruption(seen), seen)
        with pyro.plate("data", len(x), dim=-1), poutine.scale(scale=beta):
            self.posterior(seen, *context)

    @query
    def encode(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True) -> TorchDistribution:
        """q(z | x, context), batch_shape (batch,), event_shape (latent_dim,); networks in eval mode."""
        if not hasattr(self.posterior, "given"):
            raise TypeError(
                f"encode expects a posterior with one distribution to give, got {type(self.posterior).__name__}; "
                "read its sites from a trace: pyro.poutine.trace(vae.guide).get_trace(x)"
            )
        x, *rest = self._here(filled(x, mask), *context)
        with eval_mode(self):
            return self.posterior.given(self.likelihood.standardize(x), *rest)

    @query
    def decode(self, z: Tensor, *context: Tensor) -> TorchDistribution:
        """p(x | z, context), batch_shape (*leading,), event_shape x_shape; networks in eval mode."""
        with eval_mode(self):
            return self.likelihood.given(*self._here(z, *context))

    def raw(self, x: Tensor) -> Tensor:
        """Values x in the units of the file they came from; for a VAE put together by hand x itself."""
        return Domain(**self.recipe["domain"]).raw(x) if self.recipe else x

    @verb
    def reconstruct(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True, seed: Seed | None = None) -> Tensor:
        """E[x' | z] for one draw z ~ q(z | x), in x's units; (batch, *x_shape)."""
        with evaluating(self, seed):
            return self.decode(self.posterior_draw(x, *context, mask=mask), *context).mean

    @verb
    def sample(self, n: Count, *context: Tensor, seed: Seed | None = None, mean: bool = False) -> Tensor:
        """n draws of x ~ p(x), or of its mean given z; (n, *x_shape).

        Parameters
        ----------
        n
            Number of draws.
        *context
            What to condition on, each (n, ...).
        seed
            Seed of the draws; fresh entropy if `None`.
        mean
            Give E[x | z] for z ~ p(z), as papers show it, instead of x ~ p(x | z).
        """
        if n < 1 or any(len(c) != n for c in context):
            raise ValueError(
                f"sample expects one draw or more and a context for each, got n={n} and contexts of lengths "
                f"{[len(c) for c in context]}; give {n if n > 0 else 'n >= 1'} of each"
            )
        context = self._here(*context)
        with evaluating(self, seed):
            with pyro.plate("data", n, dim=-1):
                z = self.prior(*context)
            x = self.decode(z, *context)
            return x.mean if mean else x.sample()

    @query
    def posterior_draw(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True) -> Tensor:
        """What the likelihood is given for one draw from the guide, (batch, latent_dim).

        The prior is replayed on the guide's draw, in whatever order that sampled its sites; networks in eval mode. By
        torch's random numbers of the moment.
        """
        x, *rest = self._here(filled(x, mask), *context)
        with eval_mode(self), pyro.plate("data", len(x), dim=-1):
            guide = poutine.trace(self.posterior).get_trace(self.likelihood.standardize(x), *rest)
            return poutine.replay(self.prior, trace=guide)(*rest)

    def __repr__(self) -> str:
        context = ("c",) if (self.recipe or {}).get("context") else ()
        given = f" | {context[0]}" if context else ""
        latents = getattr(self.prior, "site", "z")
        innermost = latents.split(", ")[-1]
        prior = self.prior.formula(*context)
        likelihood = self.likelihood.formula(innermost, *context)
        x = self.likelihood.site
        seen, corrupted = x, ""
        if self.corruption is not None:
            seen = f"{x}~"
            corrupted = f", {seen} = {self.corruption.formula(x)} in training"
        if isinstance(self.posterior, Chain):
            posterior = self.posterior.formula(seen, *context)
        else:  # any module that samples the sites
            settings = getattr(self.posterior, "settings", str)()
            posterior = type(self.posterior).__name__ + (f"({settings})" if settings else "")
        q_given = ", ".join((seen, *context))
        return (
            f"p({x}, {latents}{given}) = {prior} {likelihood}\n"
            f"q({latents} | {q_given}) = {posterior}{corrupted}\n{super().__repr__()}"
        )

    def __getstate__(self) -> dict[str, Any]:
        return without_store(self)

    def _here(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors where the parameters are, real numbers in their precision."""
        like = next(self.parameters(), torch.zeros(()))
        return tuple(recorded(t).to(like.device, like.dtype if t.is_floating_point() else None) for t in tensors)

    def _register(self) -> None:
        """Make the parameters known to Pyro, as `pyro.module` would, but refuse those of another model.

        `pyro.module` leaves a second model of the same name silently untrained, and warns of frozen parameters at
        every step.
        """
        for name, parameter in self.named_parameters():
            if parameter.requires_grad and pyro.param(f"vae$$${name}", parameter) is not parameter:
                raise RuntimeError(
                    "the VAE expects Pyro's parameter store to hold its own parameters, got another model's; train "
                    "with ppl_vae.fit, or inside pyro.get_param_store().scope(), or call pyro.clear_param_store()"
                )


def filled(x: Tensor, mask: Tensor | bool) -> Tensor:
    """x with 0, a value that every likelihood has a density for, in the place of what is missing."""
    return x if mask is True else torch.where(torch.as_tensor(mask, device=x.device), x, torch.zeros_like(x))
