"""Log densities of values, and what is said of flows without an inverse."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ppl_vae.support import layers

__all__ = ["log_prob"]


def log_prob(fn: Any, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`fn.log_prob`, in its batch shape.

    Raises
    ------
    ValueError
        For values that a flow without an inverse did not draw itself, or not last.
    """
    try:
        found: Tensor = fn.log_prob(value, *args, **kwargs)
    except (KeyError, NotImplementedError):  # what Pyro's flows raise, whose messages say neither where nor what to do
        flows = [type(t).__name__ for layer in layers(fn) for t in getattr(layer, "transforms", ())]
        if not flows:
            raise
        raise ValueError(
            f"log densities of values that a distribution did not draw expect flows with an inverse, got "
            f"{', '.join(flows)}; train with Trace_ELBO and score with evaluate or check_guide, which need none, or "
            "use one with an inverse (SplineFlow, Pyro's affine_coupling or spline)"
        ) from None
    return found
