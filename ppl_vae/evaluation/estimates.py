"""log p(x), its errors and its reliability, from log weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.importance import FEWEST, log_marginal, psis, standard_error, tail_error

__all__ = ["errors", "reliability"]


def errors(log_w: Tensor, unknown: Tensor) -> dict[str, Tensor]:
    """log p(x), the KL gap, and the errors of both: the standard error over draws, and the error of the tail.

    To first order log p(x) is a mean over draws, too, of each weight over the mean weight. An error is NaN where
    `unknown`, (n,), is true.
    """
    log_px, _, _ = marginal = log_marginal(log_w)
    weight, tail = (log_w - log_px).exp(), tail_error(log_w)
    found = {
        "log_px_mcse": torch.hypot(standard_error(weight), tail),
        "log_px_bias": marginal.bias,
        "kl_gap_mcse": torch.hypot(standard_error(weight - log_w), tail),
    }
    one = len(log_w) < 2
    known = {name: torch.where(unknown | one, math.nan, values) for name, values in found.items()}
    gap = log_px - log_w.mean(0)
    return {"log_px": log_px, **known, "kl_gap": torch.full_like(gap, math.nan) if one else gap}


def reliability(log_w: Tensor, has_tail: bool, coarse: Tensor | None = None) -> dict[str, Tensor]:
    """ESS and k-hat; NaN where the weights have no tail, or too few draws to show it.

    Draws that coincide, where `coarse`, (n,), is true, are worth one, and their k-hat is infinite.
    """
    coarse = torch.zeros_like(log_w[0], dtype=torch.bool) if coarse is None else coarse.to(log_w.device)
    ess = torch.where(coarse, 1.0, log_marginal(log_w).ess)
    fits = has_tail and len(log_w) >= FEWEST
    none = log_w.max(0).values == -math.inf  # x has no density at any draw, or beyond what a float holds
    k = psis(log_w, coarse=coarse | none)[1] if fits else torch.where(coarse | none, math.inf, math.nan).to(ess)
    return {"ess": ess, "pareto_k": k}
