"""Warm-up of the chains: a step size for each chain and datum, a diagonal mass for each datum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.unconstrained.hmc_kernel import State

__all__ = ["Adaptation", "windows"]


class Adaptation:
    """Step sizes by dual averaging, and inverse masses from draws u and gradients, in doubling windows, as in Stan.

    After each window dual averaging restarts with the new mass. Step sizes are per chain, so that a chain in the tail
    does not shorten the steps of the others.

    Parameters
    ----------
    inverse_mass
        First guess of the variance of u, (n, dim).
    num_chains
        Number of chains.
    num_warmup
        Number of transitions that `update` will see.
    target_accept
        Target acceptance probability; steps are at most `longest`, so it may be exceeded.
    longest
        Largest step size, in whitened units.

    References
    ----------
    Hoffman & Gelman 2014, arXiv:1111.4246, section 3.2 (step sizes); the Stan reference manual, on HMC's warm-up
    (windows); nutpie, https://github.com/pymc-devs/nutpie (mass from gradients).
    """

    def __init__(
        self, inverse_mass: Tensor, num_chains: int, num_warmup: int, target_accept: float, longest: float
    ) -> None:
        self.inverse_mass = inverse_mass
        self.target_accept, self.longest = target_accept, math.log(longest)
        self.first, *self.ends = windows(num_warmup)
        self.transitions = 0
        self.lack: Tensor
        self.centre: Tensor
        self.log_step: Tensor
        self.log_mean: Tensor
        self.mean: Tensor
        self.squares: Tensor
        self._restart(inverse_mass.new_full((num_chains, len(inverse_mass)), self.longest))
        self._clear()

    @property
    def step_size(self) -> Tensor:
        """Step size of the next warm-up transition, (chains, n)."""
        return self.log_step.exp()

    @property
    def learned(self) -> Tensor:
        """Averaged step size, for sampling after warm-up, (chains, n)."""
        return self.log_mean.exp()

    def update(self, accept_prob: Tensor, state: State) -> None:
        """Adapt to one transition: its acceptance probability, (chains, n), and its new state."""
        self._average(accept_prob)
        if self.first <= self.transitions < self.ends[-1]:
            self._count(torch.stack([state.u, state.grad]))
        self.transitions += 1
        if self.transitions in self.ends:
            self._weigh()
            self._restart(self.log_mean)

    def _average(self, accept_prob: Tensor) -> None:
        self.tries += 1
        weight = 1 / (self.tries + 10)
        self.lack = (1 - weight) * self.lack + weight * (self.target_accept - accept_prob)
        self.log_step = (self.centre - math.sqrt(self.tries) / 0.05 * self.lack).clamp_max(self.longest)
        weight = self.tries**-0.75
        self.log_mean = weight * self.log_step + (1 - weight) * self.log_mean

    def _restart(self, log_step: Tensor) -> None:
        self.tries = 0
        self.lack = torch.zeros_like(log_step)
        self.log_step = self.log_mean = log_step
        self.centre = log_step + math.log(10)

    def _count(self, seen: Tensor) -> None:
        """Running mean and sum of squares of u and of the gradient in each chain, (2, chains, n, dim) (Welford)."""
        self.counted += 1
        off = seen - self.mean
        self.mean = self.mean + off / self.counted
        self.squares = self.squares + off * (seen - self.mean)

    def _weigh(self) -> None:
        """Geometric mean of var(u) and 1/var(grad), shrunk to the last mass.

        Both are equal for a normal. They are pooled within chains, so that the distance between two modes does not
        count as width. The shrinkage weighs the last mass as five draws.
        """
        of_u, of_grad = self.squares.sum(1)
        found = ((of_u + 5 * self.inverse_mass) / (of_grad + 5 / self.inverse_mass)).sqrt()
        self.inverse_mass = found.where(found.isfinite() & (found > 0), self.inverse_mass)  # gradients may overflow
        self._clear()

    def _clear(self) -> None:
        self.counted = 0
        self.mean = self.squares = self.inverse_mass.new_zeros(2, 1, *self.inverse_mass.shape)


def windows(num_warmup: int) -> list[int]:
    """Edges of the warm-up's windows; in the first 15 % and the last 10 % only step sizes are adapted."""
    edges, size, last = [round(0.15 * num_warmup)], max(1, round(0.05 * num_warmup)), round(0.9 * num_warmup)
    while edges[-1] < last:
        end = edges[-1] + size
        size *= 2
        edges.append(end if end + size <= last else last)
    return edges
