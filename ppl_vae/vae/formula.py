"""A VAE as a paper writes it."""

from __future__ import annotations

from typing import Any

from ppl_vae.conditional import Chain, Conditional
from ppl_vae.vae.context_to import Part

__all__ = ["formula", "formula_of"]


def formula(vae: Any, context: bool) -> str:
    """p(x, z) and q(z | x) of a VAE, a line each; with `context` given c, to the parts that are given it."""

    def c(*parts: Part) -> tuple[str, ...]:
        return ("c",) if context and not {*parts}.isdisjoint(vae.context_to) else ()

    latents, x = ", ".join(vae.prior.sites), vae.likelihood.site
    prior = vae.prior.formula(*c("prior"))
    likelihood = vae.likelihood.formula(vae.prior.sites[-1], *c("decoder"))
    given = "".join(f" | {name}" for name in c("prior", "decoder"))
    shown, corrupted = x, ""
    if vae.corruption is not None:
        shown = f"{x}~"
        corrupted = f", {shown} = {vae.corruption.formula(x)} in training"
    given_to_q = (shown, *(("mask",) if vae.mask_input else ()), *c("encoder"))
    q_given = ", ".join(given_to_q)
    posterior = _of_q(vae.posterior, given_to_q)
    return f"p({x}, {latents}{given}) = {prior} {likelihood}\nq({latents} | {q_given}) = {posterior}{corrupted}"


def formula_of(program: Any) -> str:
    """`program.formula()`; of one that has none the name of its class."""
    own = getattr(program, "formula", None)
    return str(own()) if callable(own) else type(program).__name__


def _of_q(posterior: Any, given: tuple[str, ...]) -> str:
    """q by the name of its class: any module that samples the sites."""
    if isinstance(posterior, Chain):
        return posterior.formula(*given)
    settings = posterior.settings() if isinstance(posterior, Conditional) else ""
    return type(posterior).__name__ + (f"({settings})" if settings else "")
