"""The pull-back geometry of the decoder: decoded means, distances between them, and the metric J^T J."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppl_vae.calls import query
from ppl_vae.isolation import frozen
from ppl_vae.memory import Allocated, rows_at_once
from ppl_vae.vae import VAE

__all__ = ["along", "at_once", "check_codes", "decoded", "magnification", "metric", "step_lengths"]


@query
def decoded(vae: VAE, z: Tensor, *context: Tensor) -> Tensor:
    """The decoder's mean g(z) = E[x | z], in the units of the raw data.

    The units are those of the VAE's recipe, x's own for a VAE put together by hand. Gradients flow to z.

    Parameters
    ----------
    vae
        A `VAE`, an autoencoder among them.
    z
        Codes, (*leading, latent_dim).
    *context
        What the VAE is conditioned on, each (*leading, ...), or what broadcasts against it.

    Returns
    -------
    Tensor
        (*leading, *x_shape).

    Raises
    ------
    TypeError
        For an object that is no `VAE`, and for codes that are no tensor of floats.
    ValueError
        For codes that are not finite, and codes or context of another width than those of the VAE.
    """
    check_codes("decoded", z)
    return vae.raw(vae.decode(z, *context).mean)


def at_once(vae: VAE, most: int, z: Tensor, *context: Tensor) -> int:
    """Number of codes to decode at once: `most`, or fewer where one code, z (1, latent_dim), takes much memory."""
    with Allocated() as made:
        decoded(vae, z, *context)
    return rows_at_once(most, made.bytes)


@query
def step_lengths(vae: VAE, z: Tensor, *context: Tensor) -> Tensor:
    """Euclidean distances |g(z_{i+1}) - g(z_i)| along walks, in raw data units.

    Parameters
    ----------
    vae
        A `VAE`.
    z
        Walks, (*leading, steps, latent_dim).
    *context
        As in `decoded`.

    Returns
    -------
    Tensor
        (*leading, steps - 1).

    Raises
    ------
    TypeError
        For what `decoded` refuses.
    """
    x = decoded(vae, z, *context).flatten(z.dim() - 1)
    return x.diff(dim=-2).norm(dim=-1)


@query
def metric(vae: VAE, z: Tensor, *context: Tensor) -> Tensor:
    """The pull-back metric J^T J, J the Jacobian of the decoder's mean g at z: |dx|^2 = dz^T J^T J dz.

    Of the mean alone: unlike the expected metric of Arvanitidis et al., which adds the Jacobian of the scale, it does
    not grow with the distance from the data.

    Parameters
    ----------
    vae
        A `VAE`; its weights stay as they are.
    z
        Codes, (*leading, latent_dim).
    *context
        As in `decoded`.

    Returns
    -------
    Tensor
        (*leading, latent_dim, latent_dim), in squared raw data units per squared unit of z.

    Raises
    ------
    TypeError
        For an object that is no `VAE`, and for codes that are no tensor of floats.

    References
    ----------
    Shao et al. 2018, arXiv:1711.08014; Arvanitidis et al. 2018, arXiv:1710.11379.

    Examples
    --------
    >>> from ppl_vae import VAE, DiagonalNormal, Gaussian, StandardNormal
    >>> _ = torch.manual_seed(0)
    >>> vae = VAE(StandardNormal(2), Gaussian(2, (5,)), DiagonalNormal((5,), 2))
    >>> bool((torch.linalg.eigvalsh(metric(vae, torch.zeros(2))) > 0).all())
    True
    """
    jacobian = _jacobian("metric", vae, z, *context)
    return jacobian.mT @ jacobian


@query
def magnification(vae: VAE, z: Tensor, *context: Tensor) -> Tensor:
    """The magnification factor sqrt(det J^T J): volume on the decoded manifold per volume of code.

    Parameters
    ----------
    vae, z, *context
        As in `metric`.

    Returns
    -------
    Tensor
        (*leading,), in raw data units to the power of latent_dim; 0 where the decoder loses a direction.

    Raises
    ------
    TypeError
        For what `metric` refuses.

    References
    ----------
    Bishop, Svensen & Williams 1997, "Magnification factors for the SOM and GTM algorithms".
    """
    return torch.linalg.svdvals(_jacobian("magnification", vae, z, *context)).prod(-1)


def along(context: tuple[Tensor, ...], leading: int) -> tuple[Tensor, ...]:
    """Contexts (*leading, ...) given a dimension for the steps of a walk that they are constant along."""
    return tuple(c.unsqueeze(leading) for c in context)


def check_codes(caller: str, *codes: Any) -> None:
    """Refuse anything but a tensor of finite floats (*leading, latent_dim).

    Raises
    ------
    TypeError
        For another kind of thing.
    ValueError
        For no codes, and for NaN and infinity.
    """
    for z in codes:
        if isinstance(z, Tensor) and z.is_floating_point() and z.dim() and not (z.numel() and z.isfinite().all()):
            raise ValueError(
                f"{caller} expects codes that are finite, one or more, got shape {tuple(z.shape)} with "
                f"{int((~z.isfinite()).sum())} values that are not finite; choose others"
            )
        if not (isinstance(z, Tensor) and z.is_floating_point() and z.dim() > 0):
            came = f"one of {z.dtype} and shape {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
            raise TypeError(
                f"{caller} expects codes as tensors of floats (*leading, latent_dim), got {came}; convert them: "
                "torch.as_tensor(z, dtype=torch.float32)"
            )


def _jacobian(caller: str, vae: VAE, z: Tensor, *context: Tensor) -> Tensor:
    """(*leading, elements of x, latent_dim), a forward-mode derivative for each code unit."""
    check_codes(caller, z)

    def g(z: Tensor) -> Tensor:
        return decoded(vae, z, *context).flatten(z.dim() - 1)

    with frozen(vae), torch.no_grad():
        units = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        return torch.stack([torch.func.jvp(g, (z,), (unit.expand_as(z),))[1] for unit in units], -1)
