"""Draws of a latent, which lie in their support by construction."""

from __future__ import annotations

import copy
from typing import Any

from pyro.poutine.messenger import Messenger

__all__ = ["Unvalidated", "unvalidated"]


def unvalidated(fn: Any) -> Any:
    """A distribution that scores a value without asking whether it lies in the support; its parameters were checked.

    A draw lies there but for rounding, and torch allows for less of that than its own samplers make: a draw of
    `RelaxedOneHotCategorical` sums to 1 within 2e-6, and 1e-6 are allowed. That q draws what p has a density for is
    checked once, by `traces.check_pair`.
    """
    fn = copy.copy(fn)
    fn._validate_args = False
    for part in ("base_dist", "components"):
        if hasattr(fn, part):
            setattr(fn, part, unvalidated(getattr(fn, part)))
    return fn


class Unvalidated(Messenger):
    """Makes the distribution of every latent site `unvalidated`."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if not msg["is_observed"] and hasattr(msg["fn"], "_validate_args"):
            msg["fn"] = unvalidated(msg["fn"])
