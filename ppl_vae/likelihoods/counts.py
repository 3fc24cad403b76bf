"""Likelihoods of counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.likelihoods.likelihood import Likelihood, Shape
from ppl_vae.likelihoods.marginals import mean_and_variance
from ppl_vae.nets import MLP

__all__ = ["NegativeBinomial"]


@checked
class NegativeBinomial(Likelihood):
    """p(x_i | z) = NB(x_i; m_i, r_i), a mass for counts of mean m_i and variance m_i + m_i^2 / r_i.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    exposure
        Whether the first context, of shape (1,), is the exposure e > 0 of a datum, such as the library size of a cell:
        means are then e m_i. The networks are given it too, so scale it to about 1.
    context, site
        See `Likelihood`.

    References
    ----------
    Lopez et al. 2018, doi:10.1038/s41592-018-0229-2 (counts of RNA, with a library size).
    """

    kinds = ("counts",)
    base_measure = "mass"
    sees_context = True

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        exposure: bool = False,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        if exposure and [tuple(shape) for shape in context[:1]] != [(1,)]:
            raise ValueError(
                "NegativeBinomial expects an exposure to be the first context, of shape (1,), got contexts "
                f"{list(context)}; give the data a context (n, 1), or leave out exposure=True"
            )
        super().__init__(latent_dim, x_shape, net, context=context, site=site)
        self.exposure = exposure

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Mean and concentration."""
        return 2, *x_shape

    def elementwise(self, raw_mean: Tensor, raw_concentration: Tensor, *context: Tensor) -> TorchDistribution:
        """From unconstrained means and concentrations, and the context."""
        mean = positive(raw_mean)
        if self.exposure:
            mean = mean * context[0].reshape(*context[0].shape[:-1], *[1] * len(self.x_shape))
        return distributions.NegativeBinomial(mean, positive(raw_concentration))

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The mean of the data, over that of their exposures, and the concentration that gives their variance."""
        mean, variance = mean_and_variance(x, mask)
        exposed, _ = mean_and_variance(self._exposures(x, *context), mask)
        mean = mean.clamp_min(0.5 / len(x))
        concentration = (mean.square() / (variance - mean).clamp_min(1e-3 * mean)).clamp(1e-2, 1e3)
        return torch.stack([unconstrained(mean / exposed.where(exposed > 0, 1)), unconstrained(concentration)])

    def _exposures(self, x: Tensor, *context: Tensor) -> Tensor:
        """The exposure of each datum, beside its elements."""
        e = context[0].reshape(-1, *[1] * len(self.x_shape)) if self.exposure else torch.ones_like(x)
        return e.to(x).expand(x.shape)

    def standardize(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return x.log1p()
