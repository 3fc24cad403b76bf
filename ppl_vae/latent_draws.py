"""Log densities of latent draws without support checks: they lie in their support by construction."""

from __future__ import annotations

import copy
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import transform_to

from ppl_vae.assumed import assume
from ppl_vae.bare_support import of_components, of_each

__all__ = ["Unvalidated", "unvalidated"]


def unvalidated(fn: Any) -> Any:
    """A distribution that scores a value without checking its support; its parameters were checked before.

    A draw lies in the support up to rounding, but torch's checks are stricter than its samplers: a draw of
    `RelaxedOneHotCategorical` sums to 1 within 2e-6, and the tolerance is 1e-6. That the support of q lies in that of p
    is checked once, by `traces.check_pair`.
    """
    fn = copy.copy(fn)
    fn._validate_args = False
    for part in ("base_dist", "components"):
        if hasattr(fn, part):
            setattr(fn, part, unvalidated(getattr(fn, part)))
    return fn


class Unvalidated(Messenger):
    """Makes the distribution of every latent site `unvalidated`; refuses draws where rounding makes log q infinite.

    Parameters
    ----------
    drawn
        Whether values are the distribution's own draws, as in a guide. In a model they may be given values, whose
        density may be 0.

    Raises
    ------
    ValueError
        For a draw that was rounded to the edge of its support, where its log density is not finite.
    """

    def __init__(self, drawn: bool = False) -> None:
        super().__init__()
        self.drawn = drawn

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if not msg["is_observed"] and not site_is_subsample(msg):
            msg["fn"] = unvalidated(msg["fn"])

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        fn, value = msg["fn"], msg["value"]
        if not self.drawn or msg["is_observed"] or site_is_subsample(msg):
            return
        value = _rounded(value)
        if not _on_the_edge(fn, value) or assume(fn.log_prob(value).isfinite().all()):
            return
        raise ValueError(
            f"site {msg['name']!r} expects draws inside the support of {_name(fn)}, got some that {value.dtype} rounds "
            "to its edge, where log q is not finite; use float64 (program.double()), or a distribution that stays "
            "inside: a higher temperature, a larger concentration"
        )


def _rounded(value: Tensor) -> Tensor:
    """Subnormal numbers as 0: the gradient of their logarithm is infinite."""
    value = value.detach()
    return value.where(value.abs() >= torch.finfo(value.dtype).tiny, 0.0) if value.is_floating_point() else value


def _on_the_edge(fn: Any, value: Tensor) -> bool:
    """Whether a draw lies on the border of its support; values that are not finite do not count."""
    try:
        support = fn.support
    except NotImplementedError:
        return False
    if support.is_discrete or of_each(support) is constraints.real:
        return False
    try:
        inside = transform_to(of_components(support)).inv(value).isfinite().all()
    except NotImplementedError:  # no transform leads there
        return False
    return not assume(inside | ~value.isfinite().all())


def _name(fn: Any) -> str:
    while isinstance(fn, dist.Independent):
        fn = fn.base_dist
    return type(fn).__name__
