"""A posterior whose parameters take gradient steps on each datum's own ELBO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from ppl_vae import traces
from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.conditional import Conditional, Net
from ppl_vae.factories import Factory, name_of
from ppl_vae.isolation import gpus_of
from ppl_vae.latent_draws import Unvalidated
from ppl_vae.nets import MLP
from ppl_vae.posteriors.normal import DiagonalNormal
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["Refined"]

Shape = Sequence[Count]
LogJoint = Callable[[Tensor], Tensor]

_LONGEST = 10.0
"""Norm that the gradient of one datum is cut to: far from an optimum a step of the full length overshoots it."""


@checked
class Refined(Conditional):
    """A semi-amortized q(z | x): the encoder's, after `num_steps` steps of gradient ascent on the ELBO of this datum.

    The parameters of q move by rate * d ELBO / d parameters, with a rate of its own for each parameter and step, which
    is learned. Training differentiates through the steps, so that the encoder learns where to start them and the model
    is trained for the q after them. The draws in the steps are the same in every call and for every datum: q is a
    function of x, and a datum's q does not depend on its neighbours. A step costs a decoding of `num_particles` draws
    and its gradient, in training two.

    Of a `Point` the steps raise log p(x, z) itself. Steps need log p(x, z), which the guide of a `VAE` gives it
    (`sees_model`). `given(x)` alone is the encoder's q, of which a `VampPrior` is made. A decoder with randomness of
    its own (dropout) moves q at random while it trains.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`; given to `base`.
    base
        The posterior to refine, a class or a `functools.partial` of one; its draws are a differentiable function of
        normal noise: `DiagonalNormal`, `LowRankNormal`, `FullRankNormal`, `StudentT`, `LogisticNormal` or a flow.
    num_steps
        Number of steps.
    num_particles
        Number of draws in each.
    learning_rate
        At which all rates start.
    context, site
        See `Posterior`.

    Raises
    ------
    TypeError
        For a base that is no posterior, and one whose distribution depends on the context beside its parameters.
    ValueError
        When it is sampled: for a base whose draws are no differentiable function of noise (discrete ones, mixtures,
        gamma variates); without a model (in a hierarchy, or outside a `VAE`); in a denoising VAE, whose q is
        given a corrupted x; in training, for a log p(x, z) that can be differentiated once only.

    References
    ----------
    Kim et al. 2018, arXiv:1802.02550; Marino et al. 2018, arXiv:1807.09356 (learned steps).
    """

    sees_model: ClassVar[bool] = True
    """Whether a VAE gives it `log_joint`, log p(x, z) as a function of z."""

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        base: Factory = DiagonalNormal,
        num_steps: Count = 5,
        num_particles: Count = 2,
        learning_rate: Positive = 0.02,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(site)
        made = base(x_shape, latent_dim, net, context=context, site=site)
        if not isinstance(made, Posterior) or made.sees_context or made.of_levels:
            raise TypeError(
                f"Refined expects base to be a posterior for a single level whose q its encoder's output alone "
                f"determines, got "
                f"{name_of(base)}; give DiagonalNormal or another class of ppl_vae.posteriors"
            )
        shape = tuple(made.param_shape(latent_dim))
        if traces.discrete({"fn": made.eval().distribution(torch.zeros(1, *shape))}):
            raise ValueError(_no_function_of_noise(made))
        self.base, self.context_shapes = made.train(), made.context_shapes
        self.num_particles = num_particles
        self.log_rate = nn.Parameter(torch.full((num_steps, *shape), learning_rate).log())
        self._is_checked = False

    def given(self, *context: Tensor, log_joint: LogJoint | None = None) -> TorchDistribution:
        """The refined q; without `log_joint`, (draws, batch, latent_dim) to (draws, batch), the encoder's."""
        params = self.base.net(*context)
        return self.base.distribution(params if log_joint is None else self._refined(params, log_joint))

    def forward(self, *context: Tensor, obs: Tensor | None = None, log_joint: LogJoint | None = None) -> Tensor:
        """Sample at the site; see `Amortized.forward`."""
        if log_joint is None:
            raise ValueError(
                "Refined expects log p(x, z) from the guide of a VAE with one level of latents, got none; use its base "
                f"{type(self.base).__name__} in a hierarchy and outside a VAE"
            )
        params = self._refined(self.base.net(*context), log_joint)
        infer: dict[str, Any] = {"parametrization": (params, self.base.distribution)}
        with Unvalidated(drawn=True):
            return pyro.sample(self.site, self.base.distribution(params), obs=obs, infer=infer)

    def settings(self) -> str:
        """What `formula` adds."""
        inside = ", ".join(part for part in (type(self.base).__name__, self.base.settings()) if part)
        return f"{inside}; {len(self.log_rate)}"

    def _refined(self, params: Tensor, log_joint: LogJoint) -> Tensor:
        """The parameters (batch, *param_shape) after the steps, with a gradient where one is asked for."""
        trains = torch.is_grad_enabled() and (params.requires_grad or self.log_rate.requires_grad)
        with torch.enable_grad():
            for seed, rate in enumerate(self.log_rate.exp()):
                at = params if params.requires_grad else params.detach().requires_grad_()
                z, log_q = self._draws(at, seed)
                elbo = (log_joint(z) - log_q).mean(0)
                (gradient,) = torch.autograd.grad(elbo.sum(), at, create_graph=trains)
                if trains and self.training and not self._is_checked:
                    self._check_twice(gradient)
                params = params + rate * _cut(gradient)
                if not trains:
                    params = params.detach()
        return params

    def _check_twice(self, gradient: Tensor) -> None:
        """Refuse, once, a gradient without one of its own: torch says so only after the loss is made."""
        if leaves := list(_leaves(gradient)):
            try:
                torch.autograd.grad(gradient.sum(), leaves, retain_graph=True, allow_unused=True)
            except RuntimeError as error:
                raise ValueError(
                    "Refined expects log p(x, z) and draws of its base that can be differentiated twice, to train "
                    f"through its steps, got some that can be once only ({str(error).splitlines()[0]}); use another "
                    "prior, likelihood or base"
                ) from None
        self._is_checked = True

    def _draws(self, params: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Draws (num_particles, batch, latent_dim) by noise that is the same for all data, and log q of them."""

        def of_one(params: Tensor) -> tuple[Tensor, Tensor]:
            q = self.base.distribution(params)
            z = q.rsample((self.num_particles,))
            return z, q.log_prob(z)

        devices = gpus_of([params])
        with torch.random.fork_rng(devices=devices), pyro.validation_enabled(False), _ConstantNoise(seed):
            torch.default_generator.manual_seed(seed)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(seed)
            try:
                return torch.func.vmap(of_one, out_dims=1, randomness="same")(params)
            except (RuntimeError, NotImplementedError) as error:
                raise ValueError(_no_function_of_noise(self.base)) from error


class _ConstantNoise(TorchFunctionMode):
    """Gives for `normal_` the numbers of a generator of its own: constants, which a graph can hold.

    Parameters
    ----------
    seed
        Of the generator of each device.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, or give the noise."""
        if func is not torch.Tensor.normal_ or len(args) > 1 or kwargs:
            return func(*args, **(kwargs or {}))
        like = args[0]
        if like.device not in self.generators:
            self.generators[like.device] = torch.Generator(like.device).manual_seed(self.seed)
        with _disable_current_modes():
            made = torch.empty(like.shape, dtype=like.dtype, device=like.device)
            made.normal_(generator=self.generators[like.device])
        return like.copy_(made)


def _no_function_of_noise(base: Posterior) -> str:
    return (
        "Refined expects a base whose draws are a differentiable function of normal noise, got "
        f"{type(base).__name__}; use DiagonalNormal, FullRankNormal or a flow"
    )


def _cut(gradient: Tensor) -> Tensor:
    """Gradients (batch, ...) of a datum at most so long; 0 where they are not finite."""
    length = gradient.detach().flatten(1).norm(dim=1).reshape(-1, *[1] * (gradient.dim() - 1))
    return torch.where(length.isfinite(), gradient * (_LONGEST / length).clamp_max(1.0), 0.0)


def _leaves(tensor: Tensor) -> Iterator[Tensor]:
    """The parameters, and other leaves, that a tensor was computed from."""
    seen, left = set(), [tensor.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        left += [before for before, _ in node.next_functions]
