"""What a posterior that `sees_model` is told: log p(x, z) as a function of z."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ppl_vae.latent_draws import unvalidated
from ppl_vae.support import filled

__all__ = ["known_to_q"]


def known_to_q(
    vae: Any, x: Tensor, mask: Tensor | bool, context: Sequence[Tensor]
) -> dict[str, Callable[[Tensor], Tensor]]:
    """`log_joint`, of z (draws, batch, latent_dim) to (draws, batch), in nats, for x in the units of the model.

    Nothing for a posterior that does not ask for it by `sees_model = True`.

    Raises
    ------
    ValueError
        In a denoising VAE, and for a prior of several levels.
    """
    # it may be any module with a forward
    asking = [q for q in getattr(vae.posterior, "levels", [vae.posterior]) if getattr(q, "sees_model", False)]
    if not asking:
        return {}
    name = type(asking[0]).__name__
    if vae.corruption is not None:
        raise ValueError(
            f"{name} expects the x that the model scores, got a corruption, whose q is given another x; build without "
            "corruption=, or use another posterior"
        )
    if len(vae.prior.sites) > 1:
        raise ValueError(
            f"{name} expects a prior of one level, got the levels {', '.join(vae.prior.sites)}; use another posterior "
            "in a hierarchy"
        )
    given = vae.given_to("prior", context)

    def log_joint(z: Tensor) -> Tensor:
        likelihood = unvalidated(vae.scored(x, mask, z, *context))
        log_p: Tensor = unvalidated(vae.prior.given(*given)).log_prob(z)
        return log_p + likelihood.log_prob(filled(x, mask, likelihood))

    return {"log_joint": log_joint}
