"""Quantizers of the library vector-quantize-pytorch as posteriors on codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.arguments import Count, Fraction, Name, Range, checked
from ppl_vae.codebook import Code, Usage
from ppl_vae.conditional import Net
from ppl_vae.libraries import needing
from ppl_vae.nets import MLP
from ppl_vae.posteriors.coded import Coded

__all__ = ["FiniteScalar", "LookupFree", "ResidualQuantized"]

Shape = Sequence[Count]
Codes = Annotated[int, Range(2)]
"""A number of codes, 2 or more: one code says nothing of x."""


def _library(caller: str) -> Any:
    """The module `vector_quantize_pytorch`, for a part of this name.

    Raises
    ------
    ImportError
        Without it.
    """
    with needing(caller, "vector-quantize-pytorch", "quantizers"):
        import vector_quantize_pytorch
    return vector_quantize_pytorch


class _Quantized(Coded):
    """A mass on the codes that a quantizer of the library chooses for an encoding."""

    quantizer: Any

    def _count_codes(self, groups: int, num_codes: int) -> None:
        self.groups, self.num_codes = groups, num_codes
        self.usage = Usage(groups, num_codes)

    def _on_codes(self, index: Tensor, moved: Tensor) -> TorchDistribution:
        """The mass on codes (*leading, groups), with the gradient of `moved`, (*leading, groups * dim)."""
        if self.training and torch.is_grad_enabled():
            self.usage.count(index)
        return Code(self.codes[index].flatten(-2) + (moved - moved.detach()), self.codes)


@checked
class FiniteScalar(_Quantized):
    """q(z | x) = 1 at the levels nearest to a bounded e(x): each unit of z is one of a few fixed numbers in [-1, 1].

    Finite scalar quantization: no codebook is learned, and no code can die; train with `Trace_ELBO` and a `CodePrior`,
    of as many groups as z has units. `reported` gives the perplexity of the levels used in an epoch.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    num_levels
        Number of levels of each unit, 2 or more.
    context, site
        See `Posterior`.

    Raises
    ------
    ImportError
        Without vector-quantize-pytorch, the extra `ppl_vae[quantizers]`.
    ValueError
        For one level.

    References
    ----------
    Mentzer et al. 2024, arXiv:2309.15505.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        num_levels: Codes = 5,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self._count_codes(latent_dim, num_levels)
        settings = {"force_quantization_f32": False, "preserve_symmetry": num_levels == 2}  # two have no level at 0
        fsq = _library("FiniteScalar").FSQ
        self.quantizer = fsq([num_levels] * latent_dim, return_indices=False, **settings)
        one = fsq([num_levels], **settings).indices_to_codes(torch.arange(num_levels))
        self.register_buffer("codes", one.reshape(num_levels, 1).clone())

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From encodings, (*leading, 1, latent_dim)."""
        encoding = params[..., 0, :]
        moved = self.quantizer(encoding.reshape(1, -1, self.groups))[0].reshape(encoding.shape)
        index = (moved.detach().unsqueeze(-1) - self.codes[:, 0]).abs().argmin(-1)
        return self._on_codes(index, moved)


@checked
class LookupFree(_Quantized):
    """q(z | x) = 1 at the signs of e(x): each unit of z is -1 or 1, with the straight-through gradient.

    Lookup-free quantization: no codebook is learned. Train with a `CodePrior` and
    ``objectives.Commitment(diversity=1)``, which keeps e(x) near -1 and 1 and spreads the use of both; without the
    diversity, units settle on one sign for all data.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`.

    Raises
    ------
    ImportError
        Without vector-quantize-pytorch, the extra `ppl_vae[quantizers]`.

    References
    ----------
    Yu et al. 2024, arXiv:2310.05737.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self._count_codes(latent_dim, 2)
        settings = {"dim": latent_dim, "num_codebooks": latent_dim, "codebook_size": 2}
        self.quantizer = _library("LookupFree").LFQ(**settings, entropy_loss_weight=0.0, force_quantization_f32=False)
        self.register_buffer("codes", torch.tensor([[-1.0], [1.0]]))

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From encodings, (*leading, 1, latent_dim)."""
        encoding = params[..., 0, :]
        with torch.no_grad():
            signs = self.quantizer(encoding.detach().reshape(1, -1, self.groups))[0].reshape(encoding.shape)
        return self._on_codes((signs > 0).long(), encoding)


@checked
class ResidualQuantized(_Quantized):
    """q(z | x) = 1 at codes of e(x), of what the first leaves over, and so on: `groups` codes of one codebook.

    Residual quantization: z concatenates the codes, whose sum is near e(x), of latent_dim / groups numbers each. The
    codebook moves by averages, and codes used less than once a batch are set to encodings; `reported` gives the
    perplexity of the codes used in an epoch. Train with `objectives.Commitment`, and a `CodePrior`.

    Parameters
    ----------
    x_shape, latent_dim, net
        See `Posterior`.
    num_codes
        Number of codes K, 2 or more.
    groups
        Number of codes of a datum; it divides latent_dim.
    decay
        Weight of the old value in the moving average, in (0, 1).
    context, site
        See `Posterior`.

    Raises
    ------
    ImportError
        Without vector-quantize-pytorch, the extra `ppl_vae[quantizers]`.
    ValueError
        For one code, and for groups that do not divide latent_dim.

    References
    ----------
    Zeghidour et al. 2021, arXiv:2107.03312; Lee et al. 2022, arXiv:2203.01941.
    """

    def __init__(
        self,
        x_shape: Shape,
        latent_dim: Count,
        net: Net = MLP,
        num_codes: Codes = 64,
        groups: Count = 2,
        decay: Fraction = 0.99,
        *,
        context: Sequence[Shape] = (),
        site: Name = "z",
    ) -> None:
        if latent_dim % groups:
            raise ValueError(
                f"ResidualQuantized expects groups that divide latent_dim, got groups={groups} and "
                f"latent_dim={latent_dim}; give latent_dim={groups * (latent_dim // groups + 1)}, say"
            )
        self.groups = groups
        super().__init__(x_shape, latent_dim, net, context=context, site=site)
        self._count_codes(groups, num_codes)
        settings = {"num_quantizers": groups, "codebook_size": num_codes, "shared_codebook": True, "decay": decay}
        self.quantizer = _library("ResidualQuantized").ResidualVQ(
            dim=latent_dim // groups, **settings, threshold_ema_dead_code=1
        )

    @property
    def codes(self) -> Tensor:  # type: ignore[override]
        """The codes, (num_codes, latent_dim / groups)."""
        found: Tensor = self.quantizer.codebooks[0]
        return found.detach().clone()

    def param_shape(self, latent_dim: int) -> tuple[int, ...]:
        """The encoding."""
        return 1, latent_dim // self.groups

    def distribution(self, params: Tensor) -> TorchDistribution:
        """From encodings, (*leading, 1, latent_dim / groups)."""
        encoding = params[..., 0, :]
        learning = self.training and torch.is_grad_enabled()
        with torch.no_grad():
            self.quantizer.train(learning)
            index = self.quantizer(encoding.detach().reshape(1, -1, encoding.shape[-1]))[1]
        moved = torch.nn.functional.pad(encoding, (0, self.latent_dim - encoding.shape[-1]))  # the first code follows
        return self._on_codes(index.reshape(*encoding.shape[:-1], self.groups), moved)
