"""Posteriors q(z | x), their parameters computed by an encoder."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import distributions
from ppl_vae.codebook import Code, Codebook, CodeMass
from ppl_vae.conditional import Amortized, Net
from ppl_vae.distributions import AutoregressiveFlow, positive
from ppl_vae.nets import MLP

__all__ = ["IAF", "DiagonalNormal", "FullRankNormal", "Point", "Posterior", "TopK", "VectorQuantized"]

Shape = Sequence[int]


class Posterior(Amortized):
    """q(z | x, context), its parameters computed by an encoder; the base of every posterior.

    Parameters
    ----------
    x_shape
        Shape of one datum, or of whatever it is given first (the level above, in a hierarchy).
    latent_dim
        Dimension of z.
    net
        Encoder factory.
    context
        Shapes of what else the encoder sees.
    site
        Name of the Pyro sample site.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: int,
        net: Net = MLP,
        context: Sequence[Shape] = (),
        site: str = "z",
    ) -> None:
        super().__init__(x_shape, (self.rows(latent_dim), latent_dim), net, context, site)
        self.latent_dim = latent_dim

    @staticmethod
    @abc.abstractmethod
    def rows(latent_dim: int) -> int:
        """Number of parameters of the distribution per latent dimension."""


class DiagonalNormal(Posterior):
    """q(z | x) = N(z; m(x), diag(s(x)^2)), the mean field of the classic VAE.

    Also a level of a hierarchy: p(z1 | z2), with z2 in the place of x.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.

    References
    ----------
    Kingma & Welling 2014, arXiv:1312.6114.

    Examples
    --------
    >>> DiagonalNormal((1, 8, 8), latent_dim=2).given(torch.zeros(5, 1, 8, 8))
    DiagonalNormal(Normal(loc: torch.Size([5, 2]), scale: torch.Size([5, 2])), 1)
    """

    @staticmethod
    def rows(latent_dim: int) -> int:
        """Mean and scale."""
        return 2

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means and unconstrained scales, (*leading, 2, latent_dim)."""
        loc, raw_scale = params.unbind(-2)
        return distributions.DiagonalNormal(loc, positive(raw_scale))


class FullRankNormal(Posterior):
    """q(z | x) = N(z; m(x), L(x) L(x)^T), L = diag(s(x)) (I + N(x)) with N strictly lower triangular.

    The rows are scaled as a whole, so that a unit whose scale shrinks loses the noise it shares with others too.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.
    """

    @staticmethod
    def rows(latent_dim: int) -> int:
        """Mean, and the rows of a square matrix: unconstrained scales on its diagonal, N below."""
        return 1 + latent_dim

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means and square matrices, (*leading, 1 + latent_dim, latent_dim)."""
        loc, square = params[..., 0, :], params[..., 1:, :]
        scale = positive(square.diagonal(dim1=-2, dim2=-1))
        unit = square.tril(-1) + torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
        return dist.MultivariateNormal(loc, scale_tril=scale.unsqueeze(-1) * unit)


class IAF(Posterior):
    """q(z | x): a diagonal normal carried through autoregressive transforms that see x.

    Sampling and scoring its own samples costs one pass; a foreign value takes `latent_dim` of them.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`; latent_dim >= 2.
    num_transforms
        Number of autoregressive transforms.
    hidden_dim
        Width of their networks.
    context, site
        See `Posterior`.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: int,
        net: Net = MLP,
        num_transforms: int = 2,
        hidden_dim: int = 64,
        context: Sequence[Shape] = (),
        site: str = "z",
    ) -> None:
        super().__init__(x_shape, latent_dim, net, context, site)
        self.flow = AutoregressiveFlow(latent_dim, latent_dim, num_transforms, hidden_dim)

    @staticmethod
    def rows(latent_dim: int) -> int:
        """Mean and scale of the start, and what the transforms see of x."""
        return 3

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From means, unconstrained scales and the transforms' context, (*leading, 3, latent_dim)."""
        loc, raw_scale, seen = params.unbind(-2)
        base = distributions.DiagonalNormal(loc, positive(raw_scale))
        return dist.TransformedDistribution(base, self.flow.transforms(seen))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.flow.nets))


class Point(Posterior):
    """q(z | x) = delta(z - e(x)): the code of an autoencoder, no density.

    log p(x), KL and k-hat do not exist for it.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.
    """

    @staticmethod
    def rows(latent_dim: int) -> int:
        """The code."""
        return 1

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From codes, (*leading, 1, latent_dim)."""
        return dist.Delta(params[..., 0, :], event_dim=1)


class TopK(Posterior):
    """q(z | x) = delta(z - e_k(x)), e_k the code with all but its k largest entries, in magnitude, set to 0.

    The code of a k-sparse autoencoder: with a `Flat` prior, sparse without a penalty. Entries that are not kept get
    no gradient. As for `Point`, log p(x), KL and k-hat do not exist.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    k
        Number of entries kept, 1 to latent_dim; with 1 the winner takes all.
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
        latent_dim: int,
        net: Net = MLP,
        k: int = 1,
        context: Sequence[Shape] = (),
        site: str = "z",
    ) -> None:
        if not 1 <= k <= latent_dim:
            raise ValueError(f"TopK expects k of 1 to latent_dim = {latent_dim}, got {k}; keep at least 1, at most all")
        super().__init__(x_shape, latent_dim, net, context, site)
        self.k = k

    @staticmethod
    def rows(latent_dim: int) -> int:
        """The code."""
        return 1

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From codes before anything is set to 0, (*leading, 1, latent_dim)."""
        code = params[..., 0, :]
        kept = code.abs().topk(self.k).indices
        return dist.Delta(torch.zeros_like(code).scatter(-1, kept, code.gather(-1, kept)), event_dim=1)

    def settings(self) -> str:
        """What `formula` adds."""
        return f"k={self.k}"


class VectorQuantized(Posterior):
    """q(z | x) = 1 at the codes nearest to e(x): a mass, on one vector of `groups` codes of a learned codebook.

    For a `CodePrior`, a mass over the same codes: the ELBO is then a bound, log p(x | z) - groups log K. The gradient
    at the code is handed to the encoder as it is. In train mode, where gradients are wanted, each call first moves
    the codebook (see `codebook.Codebook`); train with `objectives.Commitment`, which keeps e(x) near its codes. It
    reports the perplexity of the codes' use in an epoch's training within each group, the mean over groups: K where
    all are used alike, 1 where the codebook collapsed.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    num_codes
        Number of codes K.
    groups
        Number of parts that z is cut into, each quantized by the same codebook; it divides latent_dim.
    decay
        What a step keeps of the codebook, in [0, 1).
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
        latent_dim: int,
        net: Net = MLP,
        num_codes: int = 64,
        groups: int = 1,
        decay: float = 0.99,
        context: Sequence[Shape] = (),
        site: str = "z",
    ) -> None:
        if groups < 1 or latent_dim % groups:
            raise ValueError(
                f"VectorQuantized expects groups that divide latent_dim, got groups={groups} and "
                f"latent_dim={latent_dim}; give groups={latent_dim}, say, for codes that are numbers"
            )
        super().__init__(x_shape, latent_dim, net, context, site)
        self.num_codes, self.groups = num_codes, groups
        self.codebook = Codebook(num_codes, latent_dim // groups, decay, groups)

    @staticmethod
    def rows(latent_dim: int) -> int:
        """What is quantized."""
        return 1

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From encodings, (*leading, 1, latent_dim)."""
        encoding = params[..., 0, :].unflatten(-1, (self.groups, -1))
        still = encoding.detach()
        learning = self.training and torch.is_grad_enabled()
        if learning:
            self.codebook.learn(still.flatten(0, -2))  # first, so that q and the prior see the same codes
        index = self.codebook.nearest(still)
        if learning:
            self.codebook.count(index)
        code = self.codebook.codes[index]
        return Code((code + (encoding - still)).flatten(-2), self.codebook.codes)  # adds 0, and the gradient

    def over_codes(self, logits: Tensor) -> CodeMass:
        """The mass over all vectors of codes of this codebook, from unnormalized log weights (groups, num_codes)."""
        return CodeMass(logits, self.codebook.codes)

    def reported(self) -> dict[str, float]:
        """What the history shows of it at the end of an epoch, whose count of codes ends with it."""
        perplexity = self.codebook.perplexity()
        self.codebook.count_anew()
        return {f"perplexity_{self.site}": perplexity}

    def settings(self) -> str:
        """What `formula` adds."""
        return f"{self.num_codes}, groups={self.groups}"
