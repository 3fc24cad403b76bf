"""Whether a cell can be built, in the words of `ppl-vae list --compatible`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from jsonargparse import Namespace

from ppl_vae.cli.components import made, part
from ppl_vae.factories import made_by

__all__ = ["why_not"]


def why_not(options: Namespace) -> str:
    """Why prior, posterior and objective of a training do not go together; empty where they do.

    Hierarchies are not asked: their training says it.
    """
    from ppl_vae.training import combinations

    if isinstance(options.latent_dim, list):
        return ""
    pair = combinations.drawn(made_by(part(options.prior)), made_by(part(options.posterior)))
    if isinstance(pair, str):
        return pair
    objective: Callable[[], Any] = lambda: made(options.objective)  # noqa: E731
    return combinations.reason(cast(type, objective), pair)
