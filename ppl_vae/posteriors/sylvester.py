"""A normal posterior transformed by Sylvester flows."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Transform

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import Sylvester, frame, positive
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["SylvesterFlow"]

Shape = Sequence[Count]


@checked
class SylvesterFlow(Posterior):
    """q(z | x): a standard normal transformed by Sylvester flows that depend on x, then moved and scaled.

    Each adds Q R tanh(S Q^T z + b), Q of M orthonormal columns, R and S triangular. All of it is the encoder's output,
    where `IAF` and `SplineFlow` have networks of their own: T (M latent_dim + M^2 + 2 M) numbers beside means and
    scales. Where these are 0 it is the mean field. Sampling and the density of its own samples take one pass, the
    density at any other value a bisection for each column.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    num_transforms
        Number of transforms T.
    num_columns
        Columns M of each Q; latent_dim if that is less.
    context, site
        See `Posterior`.

    References
    ----------
    van den Berg et al. 2018, arXiv:1803.05649 (there the Householder Sylvester flow, here of M columns).

    Examples
    --------
    >>> q = SylvesterFlow((3,), latent_dim=4, num_columns=2)
    >>> q.param_shape(4), q.settings()
    ((10, 4), '2, 2')
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        num_transforms: Count = 2,
        num_columns: Count = 4,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        self.num_transforms, self.num_columns = num_transforms, min(num_columns, latent_dim)
        super().__init__(x_shape, latent_dim, net, context=context, site=site)

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """Mean and scale, and what each transform takes, in as many rows as hold it."""
        return 2 + -(-self.num_transforms * self._size(latent_dim) // latent_dim), latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means, unconstrained scales and the transforms' numbers, (*leading, rows, latent_dim)."""
        loc, raw_scale, numbers = params[..., 0, :], params[..., 1, :], params[..., 2:, :].flatten(-2)
        base = distributions.DiagonalNormal(loc.new_zeros(()).expand_as(loc), loc.new_ones(()).expand_as(loc))
        size = self._size(loc.shape[-1])
        each = (numbers[..., t * size : (t + 1) * size] for t in range(self.num_transforms))
        flows: list[Transform] = [self._transform(some) for some in each]
        moved = dist.transforms.AffineTransform(loc, positive(raw_scale), event_dim=1, cache_size=1)
        transformed: TorchDistribution = dist.TransformedDistribution(base, [*flows, moved])
        return transformed

    def settings(self) -> str:
        """What `formula` adds."""
        return f"{self.num_transforms}, {self.num_columns}"

    def _size(self, latent_dim: int) -> int:
        return self.num_columns * (latent_dim + self.num_columns + 2)

    def _transform(self, numbers: Tensor) -> Sylvester:
        """Of Q, then R above and S below a diagonal, the diagonal of S, and b."""
        num, rest = self.num_columns, self.num_columns * (self.num_columns + 2)
        q = frame(numbers[..., :-rest].unflatten(-1, (-1, num)))
        both = numbers[..., -rest : -2 * num].unflatten(-1, (num, num))
        s_diagonal, shift = numbers[..., -2 * num : -num], numbers[..., -num:]
        return Sylvester(q, both, both.mT.triu(1) + s_diagonal.diag_embed(), shift)
