"""Conditional distributions as modules: the base of priors, posteriors and likelihoods."""

from __future__ import annotations

import abc
import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, runtime_checkable

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae.arguments import Count, Name, Rule, checked
from ppl_vae.latent_draws import Unvalidated

__all__ = ["Amortized", "Chain", "Conditional", "Net", "OneDistribution", "Upward", "by_position_still"]

C = TypeVar("C", bound=type)

Net = Annotated[
    Callable[..., nn.Module],
    Rule("that makes a network, and is none", lambda net: not isinstance(net, nn.Module)),
]
"""A network factory: `net(in_shape, out_shape)`, or `net(in_shape, out_shape, context=shapes)`."""


def by_position_still(cls: C) -> C:
    """A class whose keyword-only arguments are taken by position too, with a `DeprecationWarning`; until 0.2.

    Leaves written for 0.1 call `super().__init__(x_shape, latent_dim, net, context, site)`.
    """
    init, parameters = cls.__init__, inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    most = len(parameters) - len(named)

    @functools.wraps(init)
    def called(*args: Any, **kwargs: Any) -> None:
        if moved := dict(zip(named, args[most:], strict=False)):
            warnings.warn(
                f"{type(args[0]).__name__}: {' and '.join(moved)} by position is deprecated; write "
                f"{', '.join(f'{name}=...' for name in moved)}",
                DeprecationWarning,
                stacklevel=2,
            )
        init(*args[:most], *args[most + len(named) :], **kwargs, **moved)

    cls.__init__ = called  # type: ignore[misc]
    return cls


@runtime_checkable
class OneDistribution(Protocol):
    """A module that can say its distribution without sampling it: any `Conditional`, or one of your own."""

    def given(self, *context: Tensor) -> TorchDistribution:
        """The distribution given the context."""
        ...


@checked
class Conditional(nn.Module, abc.ABC):
    """p(variable | context): `given(*context)` returns the distribution, a call samples it at its site.

    Parameters
    ----------
    site
        Name of the Pyro sample site.
    """

    infer: ClassVar[Mapping[str, Any]] = {}

    uses_context: ClassVar[bool] = True
    """Whether the distribution depends on the context, for the formula alone."""

    sees_x: bool = False
    """Whether a VAE gives it the data, too, as `x=`: a prior what the encoder is given, in train mode alone."""

    sees_model: ClassVar[bool] = False
    """Whether a VAE gives it log p(x, z) as a function of z, as `log_joint=`: a posterior alone."""

    def __init__(self, site: Name = "z") -> None:
        super().__init__()
        self.site = site

    @property
    def sites(self) -> list[str]:
        """The one site, as a `Chain` lists its own."""
        return [self.site]

    @abc.abstractmethod
    def given(self, *context: Tensor) -> TorchDistribution:
        """Distribution with event_shape (dim,) and a batch_shape that broadcasts against the data plate."""

    def forward(self, *context: Tensor, obs: Tensor | None = None) -> Tensor:
        """Sample the distribution at the site, inside whatever plates are open."""
        return self._sampled(self.given(*context), obs)

    def _sampled(self, fn: TorchDistribution, obs: Tensor | None) -> Tensor:
        with Unvalidated():
            return pyro.sample(self.site, fn, obs=obs, infer=dict(self.infer))

    def formula(self, *given: str) -> str:
        """The distribution as a paper writes it: `Name(site | given; settings)`."""
        context = ", ".join(given) if self.uses_context else ""
        inside = " | ".join(part for part in (self.site, context) if part)
        return f"{type(self).__name__}({'; '.join(part for part in (inside, self.settings()) if part)})"

    def settings(self) -> str:
        """Settings of the instance shown in a formula; empty by default."""
        return ""


@by_position_still
@checked
class Amortized(Conditional):
    """A conditional whose parameters a network computes from the context.

    The network is given the whole context. `distribution` is called with the parameters, and in a class that sets
    `sees_context = True` also with the context: for an exposure, or for the level above in a hierarchy.

    Parameters
    ----------
    in_shape
        Shape of the first input, without batch dimensions.
    param_shape
        Shape of the distribution's parameters, without batch dimensions.
    net
        Network factory, `net(in_shape, param_shape)`.
    context
        Shapes of all further inputs; passed to the factory as `context=` if there are any.
    site
        Name of the Pyro sample site.

    Raises
    ------
    TypeError
        For a factory whose result cannot be called.
    """

    sees_context: ClassVar[bool] = False
    """Whether `distribution` is given the context after the parameters."""

    def __init__(
        self,
        in_shape: Sequence[Count],
        param_shape: Sequence[Count],
        net: Net,
        *,
        context: Sequence[Sequence[Count]] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(site)
        self.in_shape = tuple(in_shape)
        self.context_shapes = tuple(map(tuple, context))
        extra = {"context": self.context_shapes} if context else {}
        try:
            made = net(tuple(in_shape), tuple(param_shape), **extra)
        except TypeError as error:
            if "unexpected keyword argument 'context'" not in str(error):
                raise
            raise TypeError(
                f"{type(self).__name__} expects a conditioned network to take context=, the shapes of what comes after "
                f"its input, got {error}; write net(in_shape, out_shape, *, context=()), and use *context in forward"
            ) from error
        if not callable(made):
            raise TypeError(
                f"{type(self).__name__} expects a net that makes a network, net(in_shape, out_shape), got "
                f"{type(made).__name__} from it; give a class of networks, such as MLP"
            )
        self.net = made

    @abc.abstractmethod
    def distribution(self, params: Tensor, *context: Any, **_: Any) -> TorchDistribution:  # leaves name theirs
        """The distribution with parameters (*leading, *param_shape); `context` where the class `sees_context`."""

    def given(self, *context: Tensor) -> TorchDistribution:
        """The distribution whose parameters the network computes from the context."""
        return self._of(context)(self._params(context))

    def forward(self, *context: Tensor, obs: Tensor | None = None) -> Tensor:
        """Sample at the site, with the parameters and the function from parameters to distribution in its `infer`.

        `diagnostics.inference_gaps` reads both from `infer["parametrization"]` to refine q by datum.
        """
        params, distribution = self._params(context), self._of(context)
        infer = {**self.infer, "parametrization": (params, distribution)}
        with Unvalidated(drawn=True):
            return pyro.sample(self.site, distribution(params), obs=obs, infer=infer)

    def reported(self) -> dict[str, float]:
        """Numbers by name for the training history, read at the end of an epoch; none by default."""
        return {}

    def _params(self, context: tuple[Tensor, ...]) -> Tensor:
        """The parameters, with all leading dimensions of the distribution; by default the network's of the context."""
        params: Tensor = self.net(*context)
        return params

    def _of(self, context: tuple[Tensor, ...]) -> Callable[[Tensor], TorchDistribution]:
        """`distribution` as a function of the parameters alone."""
        return (lambda params: self._seeing(params, context)) if self.sees_context else self.distribution

    def _seeing(self, params: Tensor, context: tuple[Tensor, ...], **seen: Any) -> TorchDistribution:
        try:
            return self.distribution(params, *context, **seen)
        except TypeError as error:
            if "required positional argument" not in str(error):
                raise
            raise TypeError(
                f"{type(self).__name__} expects a context that it was built without ({error}), got contexts of shapes "
                f"{list(self.context_shapes)}; build it for data with this context, or give the argument a default"
            ) from error


@checked
class Chain(nn.Module):
    """Latents sampled in order, each given the previous one and the context; returns the last.

    `Chain(p(z2), p(z1 | z2))` is a hierarchical prior and `Chain(q(z2 | x), q(z1 | z2, x))` its top-down guide; `build`
    makes both from lists of classes.

    Parameters
    ----------
    *levels
        Conditionals with sites of different names, the top one first.
    """

    def __init__(self, *levels: Conditional) -> None:
        super().__init__()
        sites = [level.site for level in levels]
        if not levels or len(set(sites)) != len(sites):
            raise ValueError(
                f"Chain expects one or more levels with sites of different names, got {sites}; "
                "name each level's site, as in StandardNormal(2, site='z2')"
            )
        self.sites = sites
        self.levels = nn.ModuleList(levels)

    def forward(self, *context: Tensor, **seen: Tensor) -> Tensor:
        """Sample every level at its site; returns the value of the last. `seen` is for those that `sees_x`."""
        previous: tuple[Tensor, ...] = ()
        for level in self.levels:
            previous = (level(*previous, *context, **(seen if level.sees_x else {})),)
        return previous[0]

    def given(self, *context: Tensor) -> TorchDistribution:
        """Refused: several distributions have no single one to return."""
        raise TypeError(
            f"a Chain of {len(self.levels)} levels has one distribution a level, not one in all; "
            "read them from a trace: pyro.poutine.trace(vae.guide).get_trace(x)"
        )

    def formula(self, *given: str) -> str:
        """The product of the levels, as a paper writes it."""
        above = [()] + [(site,) for site in self.sites]
        return " ".join(level.formula(*a, *given) for level, a in zip(self.levels, above, strict=False))  # type: ignore[operator]

    @property
    def uses_context(self) -> bool:
        """Whether a level depends on the context."""
        return any(level.uses_context for level in self.levels)

    @property
    def sees_x(self) -> bool:
        """Whether a level, of a prior, is called with what the encoder is given."""
        return any(level.sees_x for level in self.levels)

    @property
    def sees_model(self) -> bool:
        """Whether a level, of a posterior, asks for log p(x, z)."""
        return any(level.sees_model for level in self.levels)

    @property
    def site(self) -> str:
        """The sites, in the order of the levels."""
        return ", ".join(self.sites)


class Upward(Chain):
    """Latents sampled from the bottom up, the first given the data, each of the others the one before and the context.

    `build` makes it of posteriors that `reads_below`: q(z1 | x) q(z2 | z1).

    Parameters
    ----------
    *levels
        Conditionals with sites of different names, the bottom one first.
    """

    def forward(self, *context: Tensor, **seen: Tensor) -> Tensor:
        """Sample every level at its site, for data x and their context; returns the value of the last, the top."""
        value, *given = context
        for level in self.levels:
            value = level(value, *given, **(seen if level.sees_x else {}))
        return value

    def formula(self, *given: str) -> str:
        """The product of the levels, the bottom one first; those above it are not given x, nor a mask of it."""
        x, *others = given
        below = [(x, *others)] + [(site, *(o for o in others if o != "mask")) for site in self.sites]
        return " ".join(level.formula(*b) for level, b in zip(self.levels, below, strict=False))  # type: ignore[operator]
