"""The ELBO of an objective that sums over sites, without the scales of the loss it trains."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from pyro.infer import ELBO
from pyro.ops import packed
from pyro.poutine import Trace

from ppl_vae import traces
from ppl_vae.training.terms import Pair

__all__ = ["unscaled_loss"]


def unscaled_loss(objective: ELBO, pairs: Iterable[Pair]) -> float:
    """Minus the ELBO of pairs of traces that `TraceEnum_ELBO` drew, at beta = 1 and with every scale removed, in nats.

    It is computed from the log densities that the traces have: nothing is drawn.
    """
    # a copy: the objective's own loss, of the traces that it is given
    summing: Any = copy.copy(objective)
    summing._get_traces = lambda *_: ((_unscaled(model), _unscaled(guide)) for model, guide in pairs)
    with torch.no_grad():
        loss: float = summing.loss(None, None)
    return loss


def _unscaled(trace: Trace) -> Trace:
    found = copy.copy(trace)
    found.nodes = OrderedDict((n, _unit(s) if s["type"] == "sample" else s) for n, s in trace.nodes.items())
    return found


def _unit(site: traces.Site) -> traces.Site:
    """A site with scale 1; its log density is packed, as Pyro calls it: dimensions have names."""
    own = site["packed"]
    log_prob = packed.scale_and_mask(own["unscaled_log_prob"], mask=own["mask"])
    return {**site, "scale": 1.0, "packed": {**own, "log_prob": log_prob}}
