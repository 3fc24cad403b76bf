"""Refuse an objective that would give a wrong number on a program."""

from __future__ import annotations

from pyro.infer import ELBO, RenyiELBO, TraceEnum_ELBO, TraceMeanField_ELBO, TraceTailAdaptive_ELBO
from pyro.poutine import Trace

from ppl_vae.objectives import needs
from ppl_vae.objectives.vectorized_elbo import VectorizedELBO

__all__ = ["check"]


def check(objective: ELBO, model: Trace, guide: Trace) -> None:
    """Refuse an objective that would run on these traces and print a wrong number.

    Raises
    ------
    ValueError
        For a guide that samples its sites in another order under `TraceMeanField_ELBO` or `FreeBits`; an enumerated
        site under anything but `TraceEnum_ELBO`; a scaled site, or a point mass or one code a datum as posterior, under
        IWAE, Rényi or the tail-adaptive objective; a beta where there is no KL to weigh; a site without reparametrized
        draws under Rényi, `TraceMeanField_ELBO`, the tail-adaptive objective or most of this package; and for what else
        an objective of this package says it cannot do.
    """
    if not isinstance(model, Trace) or not isinstance(guide, Trace):
        raise TypeError(
            f"check expects a trace of the model and one of the guide, got {type(model).__name__} and "
            f"{type(guide).__name__}; give pyro.poutine.trace(vae.guide).get_trace(x), and the model's"
        )
    needs.something_to_weigh(model, guide, objective.kl if isinstance(objective, VectorizedELBO) else 1.0)
    if isinstance(objective, VectorizedELBO):
        objective.check(model, guide)
        if objective.scores_elsewhere:
            needs.scored_anywhere(guide)
        return
    name = type(objective).__name__
    if isinstance(objective, TraceMeanField_ELBO):
        needs.one_order(name, model, guide)
    if not isinstance(objective, TraceEnum_ELBO):
        needs.drawn(name, guide)
    if isinstance(objective, RenyiELBO | TraceTailAdaptive_ELBO):
        needs.unscaled(name, model, guide)
        needs.densities(name, guide)
    if isinstance(objective, RenyiELBO | TraceMeanField_ELBO | TraceTailAdaptive_ELBO):
        needs.reparametrized(name, guide)
