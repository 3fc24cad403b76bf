"""Whether a cell can be built, in the words of `ppl-vae list --compatible`."""

from __future__ import annotations

from jsonargparse import Namespace

from ppl_vae.cli.components import made, part

__all__ = ["why_not"]


def why_not(options: Namespace) -> str:
    """Why prior, posterior and objective of a training do not go together; empty where they do.

    Hierarchies are not asked: their training says it.
    """
    from ppl_vae.training import combinations

    if isinstance(options.latent_dim, list):
        return ""
    pair = combinations.drawn(part(options.prior), part(options.posterior), options.latent_dim)
    return pair if isinstance(pair, str) else combinations.reason(lambda: made(options.objective), pair)
