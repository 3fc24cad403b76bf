"""A deterministic posterior on the codes of a learned codebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.arguments import Count, Name, Range, checked
from ppl_vae.codebook import Code, Codebook, Usage
from ppl_vae.conditional import Net
from ppl_vae.nets import MLP
from ppl_vae.posteriors.coded import Coded

__all__ = ["VectorQuantized"]

Shape = Sequence[Count]


@checked
class VectorQuantized(Coded):
    """q(z | x) = 1 at the codes nearest to e(x): a mass on one vector of `groups` codes of a learned codebook.

    Use it with a `CodePrior`, a mass over the same codes: the ELBO is then a bound, log p(x | z) - groups log K with
    equal weights. Gradients pass from the code to the encoder by the straight-through estimator. In train mode, with
    gradients enabled, each call first updates the codebook (see `codebook.Codebook`); train with
    `objectives.Commitment`, which keeps e(x) near its codes. `reported` gives the perplexity of the codes used in an
    epoch, the mean over groups: K if all are used equally, 1 if the codebook collapsed.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    num_codes
        Number of codes K, 2 or more.
    groups
        Number of parts of z, each quantized by the same codebook; it divides latent_dim.
    decay
        Weight of the old value in the moving average, in [0, 1).
    context, site
        See `Posterior`.

    References
    ----------
    van den Oord et al. 2017, arXiv:1711.00937.

    Examples
    --------
    >>> q = VectorQuantized((3,), latent_dim=4, num_codes=2, groups=2).eval()
    >>> q.codebook.codes = torch.tensor([[0.0, 0.0], [9.0, 9.0]])
    >>> q.distribution(torch.tensor([[8.0, 9.0, 1.0, 2.0]])).mean
    tensor([9., 9., 0., 0.])
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        num_codes: Annotated[int, Range(2)] = 64,
        groups: Count = 1,
        decay: Annotated[float, Range(0, 1)] = 0.99,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        if latent_dim % groups:
            raise ValueError(
                f"VectorQuantized expects groups that divide latent_dim, got groups={groups} and "
                f"latent_dim={latent_dim}; give groups={latent_dim}, say, for codes that are numbers"
            )
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self.num_codes, self.groups = num_codes, groups
        self.codebook = Codebook(num_codes, latent_dim // groups, decay, groups)

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From encodings, (*leading, 1, latent_dim)."""
        encoding = params[..., 0, :].unflatten(-1, (self.groups, -1))
        still = encoding.detach()
        learning = self.training and torch.is_grad_enabled()
        if learning:
            self.codebook.learn(still.flatten(0, -2))  # before quantizing, so that q and the prior use the same codes
        index = self.codebook.nearest(still)
        if learning:
            self.codebook.count(index)
        code = self.codebook.codes[index]
        return Code((code + (encoding - still)).flatten(-2), self.codebook.codes)  # straight-through estimator

    @property
    def codes(self) -> Tensor:  # type: ignore[override]
        """The codes, (num_codes, latent_dim / groups)."""
        return self.codebook.codes

    @property
    def usage(self) -> Usage:  # type: ignore[override]
        """The codebook, which counts its codes."""
        return self.codebook
