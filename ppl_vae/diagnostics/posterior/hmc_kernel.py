"""Hamiltonian transitions of many chains at many data at once: each pair is accepted or rejected on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from ppl_vae.diagnostics.posterior.log_joint import gradient

__all__ = ["DIVERGENT", "Info", "LogDensity", "State", "init", "transition"]

LogDensity = Callable[[Tensor], Tensor]  # of u (chains, n, dim), giving (chains, n), in nats
DIVERGENT = 1000.0  # nats of energy that a trajectory may lose, as in Stan


@dataclass(frozen=True)
class State:
    """Where the chains are.

    Attributes
    ----------
    u
        Positions, (chains, n, dim).
    log_p
        Log density there, (chains, n), in nats; -inf where it has none.
    grad
        Its gradient, (chains, n, dim); zero where it has none.
    """

    u: Tensor
    log_p: Tensor
    grad: Tensor


@dataclass(frozen=True)
class Info:
    """What a transition did, each (chains, n).

    Attributes
    ----------
    accept_prob
        Probability with which the proposal was accepted; 0 where the trajectory ran away.
    accepted
        Whether it was.
    diverging
        Whether the proposal's energy is higher by more than `DIVERGENT` nats, or no number.
    energy
        -log p + kinetic energy of where the chain is now, in nats.
    """

    accept_prob: Tensor
    accepted: Tensor
    diverging: Tensor
    energy: Tensor


def init(f: LogDensity, u: Tensor) -> State:
    """Chains at u, (chains, n, dim), in a log density whose data do not see each other.

    A trajectory may lead where a model has no value: to infinity, or to parameters no distribution takes. There the
    density counts as zero, without an error, and the chain stays where it was.
    """
    finite = u.isfinite().all(-1)
    with pyro.validation_enabled(False):
        log_p, grad = gradient(f, u.nan_to_num(0.0, 0.0, 0.0))
    log_p = log_p.where(finite & log_p.isfinite(), -torch.inf)
    return State(u.detach(), log_p, grad.nan_to_num(0.0, 0.0, 0.0))


def transition(
    f: LogDensity, state: State, step_size: Tensor, inverse_mass: Tensor, num_steps: int
) -> tuple[State, Info]:
    """One step of Hamiltonian Monte Carlo, which leaves exp(f) as it is, whatever the step size and mass.

    Parameters
    ----------
    f
        Log density of u (chains, n, dim), as (chains, n), up to a constant.
    state
        Where the chains are.
    step_size
        (n,) or (chains, n).
    inverse_mass
        Diagonal, as the variance of u: (n, dim) or (chains, n, dim).
    num_steps
        Leapfrog steps, each a gradient of f.

    Returns
    -------
    state : State
    info : Info

    References
    ----------
    Neal 2011, arXiv:1206.1901.
    """
    momentum = torch.randn_like(state.u) / inverse_mass.sqrt()
    before = _energy(state, momentum, inverse_mass)
    proposal, momentum = _leapfrog(f, state, momentum, step_size.unsqueeze(-1), inverse_mass, num_steps)
    after = _energy(proposal, momentum, inverse_mass)
    lost = torch.where(after.isfinite(), after - before, torch.inf)
    accept_prob = (-lost).clamp_max(0.0).exp()
    accepted = torch.rand_like(accept_prob) < accept_prob
    moved = accepted.unsqueeze(-1)
    now = State(
        proposal.u.where(moved, state.u),
        proposal.log_p.where(accepted, state.log_p),
        proposal.grad.where(moved, state.grad),
    )
    return now, Info(accept_prob, accepted, lost > DIVERGENT, after.where(accepted, before))


def _energy(state: State, momentum: Tensor, inverse_mass: Tensor) -> Tensor:
    return 0.5 * (momentum.square() * inverse_mass).sum(-1) - state.log_p


def _leapfrog(
    f: LogDensity, state: State, momentum: Tensor, step: Tensor, inverse_mass: Tensor, num_steps: int
) -> tuple[State, Tensor]:
    for _ in range(num_steps):
        momentum = momentum + 0.5 * step * state.grad
        state = init(f, state.u + step * inverse_mass * momentum)
        momentum = momentum + 0.5 * step * state.grad
    return state, momentum
