"""Gradient ascent of many data at once, none of which depends on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["ascend"]


def ascend(
    descent: Callable[..., Sequence[Tensor]],
    variables: Sequence[Tensor],
    *,
    num_steps: int,
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    on_step: Callable[[], Any] = lambda: None,
) -> None:
    """Move variables uphill in place, by Adam with cosine decay, which is elementwise.

    Parameters
    ----------
    descent
        Gradients of minus what is maximized, from the variables: one of the shape of each.
    variables
        What is moved.
    num_steps, learning_rate, betas
        Steps, the rate of the first, and Adam's decay rates of its two moments.
    on_step
        Called after each step.
    """
    adam = torch.optim.Adam(variables, lr=learning_rate, betas=betas)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, num_steps)
    for _ in range(num_steps):
        for variable, grad in zip(variables, descent(*variables), strict=True):
            variable.grad = grad.nan_to_num(0.0, 0.0, 0.0)  # non-finite gradient: freeze that datum
        adam.step()
        decay.step()
        on_step()
