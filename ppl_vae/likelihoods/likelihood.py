"""The bases of every likelihood p(x | z), its parameters computed by a decoder."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Amortized, Net, by_position_still
from ppl_vae.distributions.row import Row
from ppl_vae.factories import Factory, made_by
from ppl_vae.nets import MLP

__all__ = ["Likelihood", "Rowwise", "Shape", "kinds_of"]

Shape = Sequence[Count]


BaseMeasure = Literal["mass", "density", "mixed"]


@by_position_still
@checked
class Likelihood(Amortized):
    """p(x | z, context), independent over the elements of x; the base of every likelihood.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    x_shape
        Shape of one datum.
    net
        Decoder factory.
    context
        Shapes of the decoder's further inputs.
    site
        Name of the Pyro sample site.
    num_params
        Deprecated: write `param_shape`.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    """Kinds of `Domain` it is a distribution on, the default first; empty where it does not say."""

    names: tuple[str, ...] = ()
    """Names of the columns of x, where it has any."""

    base_measure: BaseMeasure
    """``"mass"``, ``"density"``, or ``"mixed"`` where columns differ, or some values of an element have a mass. Results
    of different ones are not compared. Standardization moves the values that have a mass."""

    sees_x: bool = False
    """Whether `elementwise` is also given what will be scored, as `x=` and `mask=`; `x` is `None` where that is not
    known, as in `VAE.decode` and `VAE.sample`."""

    given_total: Literal[False, True, "exposure"] = False
    """Whether x is scored given its total, so that it may not be ranked against what is not: `True` for a mass that
    adds up to 1 over the x of that total, ``"exposure"`` for one that adds up to 1 over x of any total."""

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
        num_params: Count | None = None,
    ) -> None:
        measures = get_args(BaseMeasure)
        if (measure := getattr(self, "base_measure", "mass")) not in measures:
            raise ValueError(
                f"{type(self).__name__}.base_measure expects one of {', '.join(measures)}, got {measure!r}; give "
                "the one that log_prob is of"
            )
        param_shape = self.param_shape(tuple(x_shape))
        if num_params is not None:  # until 0.2
            warnings.warn(
                f"num_params={num_params} is deprecated; write {type(self).__name__}.param_shape(self, x_shape) and "
                f"return ({num_params}, *x_shape)",
                DeprecationWarning,
                stacklevel=4,
            )
            param_shape = (num_params, *x_shape)
        super().__init__((latent_dim,), param_shape, net, context=context, site=site)
        self.x_shape = tuple(x_shape)

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the parameters of one datum's p(x | z), (k, *x_shape): by default one for each element, k = 1.

        Settings of the leaf that k depends on are assigned before `super().__init__`.
        """
        return 1, *x_shape

    @abc.abstractmethod
    def elementwise(self, *params: Any, **_: Any) -> TorchDistribution:  # leaves name theirs
        """Distribution of each element of x, from k tensors (*leading, *x_shape); its `support` is the data domain.

        In a class that `sees_context` the context, each (*leading, ...), comes after them: `(*params, *context)`.
        """

    def distribution(self, params: Tensor, *given: Any, **seen: Any) -> TorchDistribution:
        """From parameters (*leading, k, *x_shape); `given` is z and the context, where the class `sees_context`."""
        return self.elementwise(*params.unbind(-1 - len(self.x_shape)), *given[1:], **seen)

    def given(self, *context: Tensor, mask: Tensor | bool = True, x: Tensor | None = None) -> TorchDistribution:
        """Distribution of x given z (*leading, latent_dim) and context; elements where `mask` is False do not count.

        `x` is what will be scored, (batch, *x_shape), for a leaf that `sees_x`; `None` where that is not known.
        """
        seen = {"x": x, "mask": mask} if self.sees_x else {}
        params = self.net(*context)
        fn = self._seeing(params, context, **seen) if self.sees_context else self.distribution(params, **seen)
        return self.of_observed(fn, mask)

    def of_observed(self, fn: TorchDistribution, mask: Tensor | bool) -> TorchDistribution:
        """What `elementwise` made, as one event of which only the elements where `mask` is True count."""
        return fn.mask(mask).to_event(len(self.x_shape))

    def said(self) -> dict[str, Any]:
        """What the site of x says of its log density, to `draws`: what it is given, and that it is mixed."""
        given = {True: "the total", "exposure": "the total as an exposure"}.get(self.given_total)
        said = {"given": given} if given else {}
        return said | {"measure": "mixed"} if getattr(self, "base_measure", "") == "mixed" else said

    def typical(self, fn: TorchDistribution) -> Tensor:
        """What stands for all of p(x | z), made by `given`: its mean, of categories without order the most probable."""
        mean: Tensor = fn.mean
        return mean

    def learn_from(self, x: Tensor, mask: Tensor | bool = True) -> None:
        """Record what the leaf needs of training data (n, *x_shape), which `build` gives it; nothing by default."""

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor | None:
        """Start at the marginals of training data x (n, *x_shape), float64, observed where `mask`, with their context.

        Sets scales of its own, and returns what a decoder that does not look at z would put out, (k, *x_shape): the
        parameters of the best p(x_i), for each element. `None`, the default, leaves all as it is.
        """
        return None

    def standardize(self, x: Tensor) -> Tensor:
        """x (*leading, *x_shape) as an encoder should see it, in about [-1, 1]; (*leading, *seen_shape)."""
        return x

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """Shape of what `standardize` makes of a datum: by default `x_shape`."""
        return self.x_shape

    def seen_mask(self, mask: Tensor) -> Tensor:
        """Where what `standardize` gives is of an observed element of x: by default the `mask` of x."""
        return mask


def kinds_of(factory: Factory) -> tuple[str, ...]:
    """`kinds` of the likelihood class that a factory calls; empty for another factory."""
    made_of = made_by(factory)
    return made_of.kinds if isinstance(made_of, type) and issubclass(made_of, Likelihood) else ()


class Rowwise(Likelihood):
    """p(x | z, context) whose elements are not independent: its event is the whole of x.

    Parameters
    ----------
    latent_dim, x_shape, net, context, site
        See `Likelihood`.
    """

    @abc.abstractmethod
    def elementwise(self, *params: Any, **_: Any) -> Row:
        """Distribution of the whole x, from k tensors (*leading, *x_shape)."""

    def of_observed(self, fn: Any, mask: Tensor | bool) -> TorchDistribution:
        """The distribution of the elements where `mask` is True: the others are summed or integrated over."""
        return fn.observed(mask)
