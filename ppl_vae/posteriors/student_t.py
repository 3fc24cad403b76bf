"""A posterior with heavy tails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, Range, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["StudentT"]

Shape = Sequence[Count]


@checked
class StudentT(Posterior):
    """q(z | x) = prod_i StudentT(z_i; df_i, m_i(x), s_i(x)): a mean field whose tails are heavier than a normal's.

    Importance weights under it are bounded where p(x | z) is and the prior has lighter tails, as a normal one; under a
    `DiagonalNormal` that is too narrow they are not. The likelihood of this name is `ppl_vae.StudentT`.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    df
        Degrees of freedom, above 2, so that mean and variance exist: a number, or ``"learned"``, one for each latent
        unit, the same for all x, which starts at 8.
    context, site
        See `Posterior`.

    Examples
    --------
    >>> q = StudentT((3,), latent_dim=2, df=4.0)
    >>> q.distribution(torch.zeros(2, 2)).variance.round(decimals=2)  # df / (df - 2)
    tensor([2., 2.])
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        df: Annotated[float, Range(2, above=True)] | Literal["learned"] = "learned",
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self.df = df
        if isinstance(df, str):
            self.raw_df = nn.Parameter(torch.full((latent_dim,), 5.46))  # 8 degrees of freedom

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Location and scale."""
        return 2, latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From locations and unconstrained scales, (*leading, 2, latent_dim)."""
        loc, raw_scale = params.unbind(-2)
        df = 2 + positive(self.raw_df) if isinstance(self.df, str) else torch.full_like(loc, self.df)
        return distributions.StudentT(df, loc, positive(raw_scale)).to_event(1)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"df={self.df}"
