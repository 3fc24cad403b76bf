"""The levels of a hierarchy, from the arguments of `build`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import Tensor, nn

from ppl_vae.conditional import Chain, Conditional
from ppl_vae.factories import Factory, made_by
from ppl_vae.priors import ConditionalNormal
from ppl_vae.vae.recipe import Levels

__all__ = ["DataFirst", "Known", "Level", "as_given", "levels_of"]

Known = dict[str, Callable[[], Any]]
Shape = Sequence[int]


@dataclass(frozen=True)
class Level:
    """One level.

    Attributes
    ----------
    latent_dim
        Its dimension.
    prior, posterior
        The classes, or partials of such, of p and q.
    site
        Name of its sample site; empty where it is the only one, whose components name it themselves.
    above, below
        Shapes of the level above and of that below; empty at the top and at the bottom.
    """

    latent_dim: int
    prior: Factory
    posterior: Factory
    site: str
    above: tuple[int, ...]
    below: tuple[int, ...]

    @property
    def known(self) -> Known:
        """Arguments of the level's components that it knows, each by a function that gives its value."""
        site: Known = {"site": lambda: self.site} if self.site else {}
        return {"latent_dim": lambda: self.latent_dim, **site}

    def refuse_data(self) -> NoReturn:
        """Refuse a prior below the top that asks for data: a mixture of posteriors given data has no level above."""
        name = getattr(made_by(self.prior), "__name__", "")
        raise ValueError(
            f"{name} expects to be the top level of a hierarchy, as its components are posteriors given data, got "
            f"level {self.site!r}; give it first, as prior=[{name}, ConditionalNormal]"
        )

    @property
    def reads_below(self) -> bool:
        """Whether its posterior is given the level below in the place of x."""
        return bool(getattr(made_by(self.posterior), "reads_below", False))

    @property
    def reads_latents(self) -> bool:
        """Whether there is such a level below."""
        return self.reads_below and bool(self.below)

    def refuse_posterior(self) -> NoReturn:
        """Refuse a prior whose components are posteriors given data, where the posterior is given the level below."""
        prior, posterior = (getattr(made_by(part), "__name__", "") for part in (self.prior, self.posterior))
        raise ValueError(
            f"{prior} expects a posterior given data, got {posterior}, which is given the level below {self.site!r}; "
            "use DiagonalNormal or Ladder, or another prior"
        )

    def checked(self, made: Any) -> Any:
        """A component, refused where it samples another site."""
        if self.site and isinstance(made, Conditional | Chain) and made.site != self.site:
            raise ValueError(
                f"a level of a hierarchy expects a class whose constructor takes site=, got {type(made).__name__}, "
                f"which samples {made.site!r} in the place of {self.site!r}; "
                "give its constructor site=, and pass it to super().__init__"
            )
        return made


def levels_of(latent_dim: int | Sequence[int], prior: Factory | Levels, posterior: Factory | Levels) -> list[Level]:
    """The levels, top first. An argument that is no list applies to all levels, a prior to the top only.

    Raises
    ------
    ValueError
        For lists of different lengths, for empty ones, for posteriors of which some are given the level below, and for
        a single level of a posterior that is for hierarchies alone.
    """
    given = {"latent_dim": latent_dim, "prior": prior, "posterior": posterior}
    lengths = {name: len(value) for name, value in given.items() if isinstance(value, Sequence)}
    depth = max(lengths.values(), default=1)
    if any(length != depth for length in lengths.values()) or not depth:
        raise ValueError(
            f"build expects lists of the same length, an entry for each level, got {lengths} entries; give one for "
            "each level, the top one first, or one that is no list"
        )
    dims = latent_dim if isinstance(latent_dim, Sequence) else [latent_dim] * depth
    priors = prior if isinstance(prior, Sequence) else [prior, *[ConditionalNormal] * (depth - 1)]
    posteriors = posterior if isinstance(posterior, Sequence) else [posterior] * depth
    sites = [f"z{depth - i}" for i in range(depth)] if depth > 1 else [""]
    above, below = [(), *((dim,) for dim in dims)], [*((dim,) for dim in dims[1:]), ()]
    levels = [Level(*level) for level in zip(dims, priors, posteriors, sites, above, below, strict=False)]
    if depth == 1 and getattr(made_by(levels[0].posterior), "of_levels", False):
        raise ValueError(
            f"{made_by(levels[0].posterior).__name__} expects two levels or more, as a posterior of hierarchies, got "
            "one; give latent_dim=[2, 8], say, or use DiagonalNormal"
        )
    kinds = {level.reads_below: getattr(made_by(level.posterior), "__name__", "") for level in levels}
    if len(kinds) > 1:
        raise ValueError(
            f"build expects {kinds[True]} at all levels or at none, got it beside {kinds[False]}; give all levels one"
        )
    return levels


def as_given(levels: Sequence[Level]) -> dict[str, Any]:
    """The levels as arguments of `build`, lists where there are several."""
    found = {name: [getattr(level, name) for level in levels] for name in ("latent_dim", "prior", "posterior")}
    return found if len(levels) > 1 else {name: values[0] for name, values in found.items()}


class DataFirst(nn.Module):
    """The encoder of a level below the top: called with (level above, x), it calls the network with (x, level above).

    A `ConvEncoder` then convolves x, and the level above enters its dense layers.
    """

    def __init__(self, encoder: Factory, in_shape: Shape, out_shape: Shape, *, context: Sequence[Shape]) -> None:
        super().__init__()
        x_shape, *others = context
        self.net = encoder(x_shape, out_shape, context=(in_shape, *others))

    def forward(self, above: Tensor, x: Tensor, *context: Tensor) -> Tensor:
        """The parameters of q(z | above, x, context)."""
        return self.net(x, above, *context)
