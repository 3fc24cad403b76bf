"""Priors that are flows of zuko."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.distributions import ZukoFlow, zuko_flows
from ppl_vae.nets.network import joined, widths
from ppl_vae.priors.prior import Prior

__all__ = ["MAF", "NeuralSpline", "RealNVP", "ZukoPrior"]

Shape = Sequence[Count]


class _Flow(Prior, abc.ABC):
    """p(z | c): the density of (z - loc) / scale under a flow of zuko, loc and scale set by `start_from`."""

    loc: Tensor
    scale: Tensor
    flow: Any

    def __init__(self, latent_dim: int, flow: nn.Module, context: Sequence[Shape], site: str) -> None:
        super().__init__(site)
        self._shapes = tuple(map(tuple, context))
        self.context_shapes = self._shapes[1:]  # besides the level above, as those of `ConditionalNormal`
        self.register_buffer("loc", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.ones(latent_dim))
        self.flow = flow

    def given(self, *context: Tensor) -> TorchDistribution:
        """The flow's density given the context, if it was built for one."""
        base = ZukoFlow(self.flow(joined([c.to(self.loc) for c in context], self._shapes) if context else None))
        return dist.TransformedDistribution(base, dist.transforms.AffineTransform(self.loc, self.scale, event_dim=1))

    def start_from(self, z: Tensor) -> None:
        """Standardize what the flow is given by the means and standard deviations of z."""
        self.loc.copy_(z.mean(0))
        self.scale.copy_(z.std(0, correction=0).clamp_min(1e-6))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.flow.transform.transforms))


@checked
class RealNVP(_Flow):
    """p(z): affine coupling transforms between z and a standard normal; of an odd dimension the halves differ by one.

    Density and draws take one pass each. Flows that start far from the codes train badly: `fit_prior` standardizes
    them first.

    Parameters
    ----------
    latent_dim
        Dimension of z, at least 2.
    num_transforms
        Number of transforms; 2 or more, or half of the coordinates are given no other.
    hidden_dim
        Width of the two hidden layers of their networks.
    context
        Shapes of the context.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ImportError
        Without zuko, the extra `ppl_vae[zuko]`.
    ValueError
        For latent_dim of 1.

    References
    ----------
    Dinh et al. 2017, arXiv:1605.08803.
    """

    def __init__(
        self,
        latent_dim: Count,
        num_transforms: Count = 4,
        hidden_dim: Count = 64,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        sizes = _sizes("RealNVP", latent_dim, context, num_transforms, hidden_dim)
        super().__init__(latent_dim, zuko_flows("RealNVP").RealNVP(**sizes), context, site)


@checked
class NeuralSpline(_Flow):
    """p(z): coupling transforms of rational-quadratic splines between z and a standard normal.

    Splines act within 5; beyond, coordinates stay as they are. Density and draws take one pass each.

    Parameters
    ----------
    latent_dim, num_transforms, hidden_dim, context, site
        See `RealNVP`.
    num_bins
        Number of bins of a spline, at least 2.

    Raises
    ------
    ImportError
        Without zuko, the extra `ppl_vae[zuko]`.
    ValueError
        For latent_dim of 1, and fewer than two bins.

    References
    ----------
    Durkan et al. 2019, arXiv:1906.04032.
    """

    def __init__(
        self,
        latent_dim: Count,
        num_transforms: Count = 4,
        hidden_dim: Count = 64,
        num_bins: Count = 8,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        if num_bins < 2:
            raise ValueError(f"NeuralSpline expects num_bins of 2 or more, got {num_bins}; give 8, say")
        flows = zuko_flows("NeuralSpline")
        sizes = _sizes("NeuralSpline", latent_dim, context, num_transforms, hidden_dim)
        spline = partial(flows.spline.MonotonicRQSTransform, slope=1e-3)
        flow = flows.NICE(**sizes, univariate=spline, shapes=[(num_bins,), (num_bins,), (num_bins - 1,)])
        super().__init__(latent_dim, flow, context, site)


@checked
class MAF(_Flow):
    """p(z): masked autoregressive transforms between z and a standard normal.

    A density takes one pass, a draw `latent_dim` passes of each transform: choose `RealNVP` or `NeuralSpline` where
    draws of many dimensions must be fast. `FlowPrior` is one, too, with networks of its own.

    Parameters
    ----------
    latent_dim, num_transforms, hidden_dim, context, site
        See `RealNVP`.

    Raises
    ------
    ImportError
        Without zuko, the extra `ppl_vae[zuko]`.
    ValueError
        For latent_dim of 1.

    References
    ----------
    Papamakarios et al. 2017, arXiv:1705.07057.
    """

    def __init__(
        self,
        latent_dim: Count,
        num_transforms: Count = 4,
        hidden_dim: Count = 64,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        sizes = _sizes("MAF", latent_dim, context, num_transforms, hidden_dim)
        super().__init__(latent_dim, zuko_flows("MAF").MAF(**sizes), context, site)


@checked
class ZukoPrior(_Flow):
    """p(z): any flow of zuko on all real vectors, as `partial(ZukoPrior, flow=partial(zuko.flows.NAF, transforms=2))`.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    flow
        Factory of the flow, called with the dimensions of z and of the context: a class of `zuko.flows`, or a partial
        of one; by default `zuko.flows.NSF`, whose draws take `latent_dim` passes. Those that are inverted by bisection
        (`NAF`, `UNAF`, `SOSPF`) draw within [-10, 10] only, in units of the codes' standard deviation at the start.
    context
        Shapes of the context.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ImportError
        Without zuko, the extra `ppl_vae[zuko]`.
    TypeError
        For a factory whose result makes no distribution of `latent_dim` numbers.
    ValueError
        For a flow whose density is not one on all real vectors (`NCSF`), is drawn (`CNF` with ``exact=False``), or is
        not that of its draws, which some bound (`GF`).
    """

    def __init__(
        self,
        latent_dim: Count,
        flow: Callable[..., nn.Module] | None = None,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        flows, width = zuko_flows("ZukoPrior"), widths(context)
        if isinstance(flow, nn.Module):
            raise TypeError(
                f"ZukoPrior expects a factory of flows, got a flow, {type(flow).__name__}; give the class, and its "
                "settings by partial(zuko.flows.NAF, transforms=2), say"
            )
        try:
            made = (flow or flows.NSF)(latent_dim, width)
        except TypeError as error:
            raise TypeError(
                f"ZukoPrior expects a factory called with the dimensions of z and of the context, got an error of it "
                f"({error}); correct its settings"
            ) from error
        given = torch.zeros(width) if width else None
        if not isinstance(made, flows.LazyDistribution) or tuple(made(given).event_shape) != (latent_dim,):
            raise TypeError(
                f"ZukoPrior expects a flow that makes distributions of {latent_dim} numbers, flow(features, context), "
                f"got {type(made).__name__}; give a class of zuko.flows, or a partial of one"
            )
        _check_density(made, given, latent_dim)
        super().__init__(latent_dim, made, context, site)

    def settings(self) -> str:
        """What `formula` adds."""
        return type(self.flow).__name__


@torch.no_grad()
def _check_density(flow: nn.Module, given: Tensor | None, latent_dim: int) -> None:
    """Refuse, by a ValueError, a flow without a density on all real vectors that is the same in each call."""
    made, name = flow(given), type(flow).__name__
    z = torch.tensor([[-5.0], [5.0]]).expand(2, latent_dim)
    if not torch.equal(made.log_prob(z), flow(given).log_prob(z)):
        raise ValueError(
            f"ZukoPrior expects a flow whose log density is a number, got {name} with one that is drawn in each call: "
            "log p(x) would be no bound; give CNF exact=True"
        )
    if (transform := getattr(made, "transform", None)) is None:  # a mixture
        return
    noise = made.base.mean + torch.tensor([[-1.0], [1.0]]) * made.base.stddev
    there, back = transform.inv(transform(z)), transform(transform.inv(noise))
    if not (torch.allclose(there, z, atol=0.1) and torch.allclose(back, noise, atol=0.1)):
        raise ValueError(
            f"ZukoPrior expects a flow that is one to one on all real vectors, got {name}, whose draws do not have its "
            "density; use NSF"
        )


def _sizes(
    name: str, latent_dim: int, context: Sequence[Shape], num_transforms: int, hidden_dim: int
) -> dict[str, Any]:
    """Arguments of a flow whose coordinates are given others.

    Raises
    ------
    ValueError
        For one coordinate.
    """
    if latent_dim < 2:
        raise ValueError(
            f"{name} expects latent_dim of 2 or more, of which each is given others, got {latent_dim}; use "
            "GaussianMixture in one dimension"
        )
    hidden = (hidden_dim, hidden_dim)
    return {
        "features": latent_dim,
        "context": widths(context),
        "transforms": num_transforms,
        "hidden_features": hidden,
    }
