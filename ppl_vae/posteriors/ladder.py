"""The posterior of a level that is merged with the prior of that level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.distributions import positive
from ppl_vae.posteriors.posterior import Posterior
from ppl_vae.support import unwrapped

__all__ = ["Ladder"]


class Ladder(Posterior):
    """q(z1 | z2, x): the product of p(z1 | z2) and N(z1; m(x), diag(s(x)^2)), normalized; for levels of a hierarchy.

    Its precision is the sum of the two precisions, its mean their weighted mean. The top-down path is the prior's
    own, so that x adds to what z2 says, and a level that x says nothing of falls back to its prior. The top level,
    which has no prior given a level above, is N(m(x), diag(s(x)^2)). Each level has an encoder of x of its own, where
    the paper's are the layers of one.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`; x_shape is that of x at all levels.

    Raises
    ------
    ValueError
        For one level alone, for a prior of its level that is no normal with independent coordinates, and for a prior
        that is given a context which the encoder is not.

    References
    ----------
    Sønderby et al. 2016, arXiv:1602.02282, equations 17 to 19.
    """

    sees_context = True
    reads_above = False
    of_levels = True

    _path: Callable[..., TorchDistribution] | None = None

    def meet(self, prior: Any, *, below: bool) -> None:
        """Take the prior of this level, which it does not own, as the top-down path."""
        if not below:
            return
        self._num = len(getattr(prior, "context_shapes", ()))
        if self._num > len(self.context_shapes):
            raise ValueError(
                f"Ladder expects an encoder that is given the {self._num} contexts of its prior, got one of "
                f"{len(self.context_shapes)}; name 'encoder' in context_to, too"
            )
        self._path = prior.given  # the bound method, so that the prior is not registered twice

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Mean and scale."""
        return 2, latent_dim

    def distribution(self, params: Tensor, *context: Tensor) -> TorchDistribution:
        """From means and unconstrained scales of x alone, (*leading, 2, latent_dim), and the level above."""
        loc, raw_scale = params.unbind(-2)
        scale = positive(raw_scale)
        if self._path is None:
            return distributions.DiagonalNormal(loc, scale)
        above, _, *rest = context
        p = self._path(above, *rest[: self._num])
        if not isinstance(p, distributions.DiagonalNormal):
            raise ValueError(
                f"Ladder expects a normal prior with independent coordinates at its level, got "
                f"{type(unwrapped(p)).__name__}; use ConditionalNormal, or DiagonalNormal in the place of Ladder"
            )
        of_x, of_prior = scale.square().reciprocal(), p.base_dist.scale.square().reciprocal()
        total = of_x + of_prior
        return distributions.DiagonalNormal((loc * of_x + p.base_dist.loc * of_prior) / total, total.rsqrt())

    def _params(self, context: tuple[Tensor, ...]) -> Tensor:
        if self._path is None:
            return super()._params(context)
        above, *rest = context
        params = super()._params(tuple(rest))
        return params.expand(*torch.broadcast_shapes(above.shape[:-1], params.shape[:-2]), -1, -1)
