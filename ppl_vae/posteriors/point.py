"""Point masses, the posteriors of autoencoders."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.nets import MLP
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["Point", "TopK"]

Shape = Sequence[Count]


class Delta(dist.Delta):
    """A point that no transform keeps inside the support of a prior: it may lie there by chance alone."""

    anywhere = True


class Point(Posterior):
    """q(z | x) = delta(z - e(x)): the code of an autoencoder, no density.

    log p(x), KL and k-hat do not exist for it.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.
    """

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From codes, (*leading, 1, latent_dim)."""
        return Delta(params[..., 0, :], event_dim=1)


@checked
class TopK(Posterior):
    """q(z | x) = delta(z - e_k(x)), e_k the code with all but its k largest entries, in magnitude, set to 0.

    The code of a k-sparse autoencoder: with a `Flat` prior, sparse without a penalty. Of ties the first entries are
    kept. Other entries get no gradient. As for `Point`, log p(x), KL and k-hat do not exist.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    k
        Number of entries kept, 1 to latent_dim.
    context, site
        See `Posterior`.

    Raises
    ------
    ValueError
        For k outside 1 to latent_dim.

    References
    ----------
    Makhzani & Frey 2014, arXiv:1312.5663, who keep the largest entries by value.

    Examples
    --------
    >>> q = TopK((3,), latent_dim=4, k=2)
    >>> q.distribution(torch.tensor([[0.5, -2.0, 1.0, 0.1]])).mean
    tensor([ 0., -2.,  1.,  0.])
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        k: Count = 1,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        if not 1 <= k <= latent_dim:
            raise ValueError(f"TopK expects k of 1 to latent_dim = {latent_dim}, got {k}; keep at least 1, at most all")
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self.k = k

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From dense codes, (*leading, 1, latent_dim)."""
        code = params[..., 0, :]
        order = code.abs().sort(dim=-1, descending=True, stable=True).indices  # the first of equals first
        kept = order[..., : self.k]
        return Delta(torch.zeros_like(code).scatter(-1, kept, code.gather(-1, kept)), event_dim=1)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"k={self.k}"
