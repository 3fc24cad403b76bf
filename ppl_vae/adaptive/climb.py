"""Gradient steps of each datum: on the ELBO of a proposal, and on the density of a point."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from torch import Tensor

from ppl_vae.adaptive.student import Student
from ppl_vae.ascent import ascend
from ppl_vae.precision import in_float64
from ppl_vae.unconstrained import LogJoint

__all__ = ["climbed", "refined"]

_JUDGES = 16  # draws, the same before and after, that tell whether a refinement raised the ELBO


def refined(joint: LogJoint, start: Student, *, num_steps: int, num_particles: int, learning_rate: float) -> Student:
    """The proposal with mean and widths that raise each datum's ELBO, as of a normal, by Adam with cosine decay.

    In coordinates in which the start is standard: mean a and log widths s, u = m + C (a + exp(s) e) with e ~ N(0, I).

    Returns
    -------
    Student
        The start itself for data whose ELBO fell by more than twice its error, or is not finite.
    """
    like = start.loc.to(joint.from_guide(1))
    tril = start.tril.to(like)
    a, s = torch.zeros_like(like), torch.zeros_like(like)

    def elbo(a: Tensor, s: Tensor, e: Tensor) -> Tensor:
        u = like + torch.einsum("nij,snj->sni", tril, a + s.exp() * e)
        with pyro.validation_enabled(False):
            return joint(u).log_joint + s.sum(-1)

    a, s = _ascended(
        lambda a, s: elbo(a, s, torch.randn(num_particles, *like.shape).to(like)).mean(0),
        [a, s],
        num_steps=num_steps,
        learning_rate=learning_rate,
    )
    e = torch.randn(_JUDGES, *like.shape).to(like)
    gain = elbo(a, s, e) - elbo(torch.zeros_like(a), torch.zeros_like(s), e)
    better = gain.mean(0) > -2 * gain.std(0) / _JUDGES**0.5  # false for NaN
    better &= gain.isfinite().all(0)
    a, s = (in_float64(v.where(better.unsqueeze(-1), 0.0)) for v in (a, s))
    loc = start.loc + torch.einsum("nij,nj->ni", start.tril, a)
    return Student(loc, start.tril * s.exp().unsqueeze(-2), start.df)


def climbed(joint: LogJoint, u: Tensor, widths: Tensor, *, num_steps: int, learning_rate: float) -> Tensor:
    """Points u (starts, n, dim) moved uphill on log p(x, u), in units of widths (n, dim), by Adam with cosine decay."""

    def height(a: Tensor) -> Tensor:
        with pyro.validation_enabled(False):
            return joint(u + widths * a).log_joint

    (a,) = _ascended(height, [torch.zeros_like(u)], num_steps=num_steps, learning_rate=learning_rate)
    return u + widths * a


def _ascended(f: Callable[..., Tensor], given: list[Tensor], *, num_steps: int, learning_rate: float) -> list[Tensor]:
    """Arguments that raise the sum of f."""
    variables = [v.clone().requires_grad_() for v in given]

    def descent(*variables: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            return torch.autograd.grad(-f(*variables).sum(), variables, materialize_grads=True)

    ascend(descent, variables, num_steps=num_steps, learning_rate=learning_rate, betas=(0.9, 0.99))
    return [v.detach() for v in variables]
