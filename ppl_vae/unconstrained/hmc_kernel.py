"""HMC transitions of many chains and data in parallel; each pair of chain and datum is accepted on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "DIVERGENT",
    "LEAPFROG",
    "THREE_STAGE",
    "TWO_STAGE",
    "Info",
    "Integrator",
    "LogDensity",
    "State",
    "init",
    "transition",
]

LogDensity = Callable[[Tensor], Sequence[Tensor]]
"""A log density of u (chains, n, dim): it returns values (chains, n), in nats, their gradient (chains, n, dim), and
further tensors that a state keeps, each (chains, n, ...)."""
DIVERGENT = 1000.0  # nats of energy error beyond which a trajectory is divergent, as in Stan
Integrator = tuple[tuple[float, float], ...]
"""One step of an integrator, in parts: the momentum changes by the first number times the step size and the gradient,
then the position moves by the second times the step size, and a gradient follows. At the end the momentum changes as at
the beginning."""
LEAPFROG: Integrator = ((0.5, 1.0),)
TWO_STAGE: Integrator = ((0.21178, 0.5), (1 - 2 * 0.21178, 0.5))
"""For a standard normal it is stable up to steps of 2.63. Up to 2.1 its energy error, after two gradients, is smaller
than that of three leapfrog steps of the same length together (Blanes, Casas & Sanz-Serna 2014, arXiv:1405.3153)."""
THREE_STAGE: Integrator = (
    (0.11888010966548, 0.29619504261126),
    (0.38111989033452, 0.40760991477748),
    (0.38111989033452, 0.29619504261126),
)
"""The same after three gradients, stable up to steps of 4.67."""


@dataclass(frozen=True)
class State:
    """State of the chains.

    Attributes
    ----------
    u
        Positions, (chains, n, dim).
    log_p
        Log density at u, (chains, n), in nats; -inf where it is not finite.
    grad
        Its gradient, (chains, n, dim); zero where it is not finite.
    more
        Further tensors that the log density returned, each (chains, n, ...).
    """

    u: Tensor
    log_p: Tensor
    grad: Tensor
    more: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, u: Tensor, log_p: Tensor, grad: Tensor, *more: Tensor) -> State:
        """The state at u, from what the log density returned; the density is zero where that is not finite."""
        log_p = log_p.where(u.isfinite().all(-1) & log_p.isfinite(), -torch.inf)
        return cls(u.detach(), log_p, grad.nan_to_num(0.0, 0.0, 0.0), more)

    def where(self, chosen: Tensor, other: State) -> State:
        """The state itself where `chosen`, (chains, n), and the other elsewhere."""
        moved = chosen.unsqueeze(-1)
        more = zip(self.more, other.more, strict=True)
        return State(
            self.u.where(moved, other.u),
            self.log_p.where(chosen, other.log_p),
            self.grad.where(moved, other.grad),
            tuple(a.where(chosen if a.dim() == chosen.dim() else moved, b) for a, b in more),
        )


@dataclass(frozen=True)
class Info:
    """Information about a transition, each (chains, n).

    Attributes
    ----------
    accept_prob
        Acceptance probability of the proposal; 0 where its energy is not finite.
    accepted
        Whether the proposal was accepted.
    diverging
        Whether the energy rose by more than `DIVERGENT` nats or is not finite.
    energy
        -log p + kinetic energy of the new state, in nats.
    """

    accept_prob: Tensor
    accepted: Tensor
    diverging: Tensor
    energy: Tensor


def init(f: LogDensity, u: Tensor) -> State:
    """State of chains at u, (chains, n, dim); the log density of a datum must not depend on the other data.

    A trajectory may reach infinity or invalid parameters of a distribution. The density is then zero, no error is
    raised, and the proposal is rejected.
    """
    return State.of(u, *f(u.detach().nan_to_num(0.0, 0.0, 0.0)))


def transition(
    f: LogDensity,
    state: State,
    step_size: Tensor,
    inverse_mass: Tensor,
    num_steps: int,
    integrator: Integrator = LEAPFROG,
) -> tuple[State, Info]:
    """One transition of Hamiltonian Monte Carlo; exp(f) is invariant for any step size and mass.

    Parameters
    ----------
    f
        Log density, up to a constant.
    state
        Current state.
    step_size
        (n,) or (chains, n).
    inverse_mass
        Diagonal of the inverse mass matrix, in units of the variance of u: (n, dim) or (chains, n, dim).
    num_steps, integrator
        Steps, and what one is: its gradients of f are as many as its parts.

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
    proposal, momentum = _moved(f, state, momentum, step_size.unsqueeze(-1), inverse_mass, [integrator] * num_steps)
    after = _energy(proposal, momentum, inverse_mass)
    lost = torch.where(after.isfinite(), after - before, torch.inf)
    accept_prob = (-lost).clamp_max(0.0).exp()
    accepted = torch.rand_like(accept_prob) < accept_prob
    return proposal.where(accepted, state), Info(accept_prob, accepted, lost > DIVERGENT, after.where(accepted, before))


def _energy(state: State, momentum: Tensor, inverse_mass: Tensor) -> Tensor:
    return 0.5 * (momentum.square() * inverse_mass).sum(-1) - state.log_p


def _moved(
    f: LogDensity,
    state: State,
    momentum: Tensor,
    step_size: Tensor,
    inverse_mass: Tensor,
    steps: Sequence[Integrator],
) -> tuple[State, Tensor]:
    for parts in steps:
        for kick, drift in parts:
            momentum = momentum + kick * step_size * state.grad
            state = init(f, state.u + drift * step_size * inverse_mass * momentum)
        momentum = momentum + parts[0][0] * step_size * state.grad
    return state, momentum
