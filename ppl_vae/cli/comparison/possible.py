"""Whether a cell can be built, in the words of `ppl-vae list --compatible`."""

from __future__ import annotations

from jsonargparse import Namespace

from ppl_vae.cli.chosen import made, part

__all__ = ["why_not"]


def why_not(options: Namespace) -> str:
    """Why prior, posterior and objective of a training do not go together; empty where they do."""
    from ppl_vae.training import combinations

    dims = tuple(options.latent_dim) if isinstance(options.latent_dim, list) else options.latent_dim
    pair = combinations.drawn(part(options.prior), part(options.posterior), dims)
    return pair if isinstance(pair, str) else combinations.reason(lambda: made(options.objective), pair)
