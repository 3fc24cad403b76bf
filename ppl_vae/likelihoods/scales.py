"""The base of likelihoods with a scale that is given, learned, or computed by the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ppl_vae.arguments import Count, Name, Positive, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import positive, unconstrained
from ppl_vae.likelihoods.likelihood import Likelihood, Shape
from ppl_vae.likelihoods.marginals import mean_and_variance
from ppl_vae.nets import MLP

__all__ = ["Scale", "Scaled"]

Scale = Positive | Literal["learned", "elementwise", "decoder"]


@checked
class Scaled(Likelihood):
    """A likelihood of a location from the decoder and a scale.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    scale
        A number; ``"learned"``, one for all elements; ``"elementwise"``, one learned for each element of x; or
        ``"decoder"``, computed from z.
    context, site
        See `Likelihood`.
    """

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        scale: Scale = "learned",
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        self.scale: float | str = scale
        super().__init__(latent_dim, x_shape, net, context=context, site=site)
        if scale == "learned":
            self.raw_scale = nn.Parameter(torch.zeros(()))
        if scale == "elementwise":
            self.raw_scale = nn.Parameter(torch.zeros(*x_shape))

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Location, and the scale where the decoder computes it."""
        return 2 if self.scale == "decoder" else 1, *x_shape

    def scale_of(self, loc: Tensor, *raw: Tensor) -> Tensor:
        """The scale, given what the decoder computes of it, in the type of the location."""
        if raw:
            return positive(raw[0])
        return loc.new_tensor(self.scale) if isinstance(self.scale, int | float) else positive(self.raw_scale)

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """Mean and standard deviation of each element; the one scale of all is that of the mean variance."""
        mean, variance = mean_and_variance(x, mask)
        if self.scale == "decoder":
            return torch.stack([mean, unconstrained(variance.sqrt())])
        if self.scale in ("learned", "elementwise"):
            with torch.no_grad():
                each = variance if self.scale == "elementwise" else variance.mean()
                self.raw_scale.copy_(unconstrained(each.sqrt()))
        return mean.unsqueeze(0)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"scale={self.scale}"
