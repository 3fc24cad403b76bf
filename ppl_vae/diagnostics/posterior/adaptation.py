"""What chains learn in their warm-up: a step size for each chain and datum, a mass for each datum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.diagnostics.posterior.hmc_kernel import State

__all__ = ["Adaptation", "windows"]


class Adaptation:
    """Step sizes by dual averaging, and inverse masses from u and its slopes, in windows that double, as in Stan.

    After each window the averaging begins anew, with the new mass. A chain that started far out learns a step of its
    own, and does not slow the others.

    Parameters
    ----------
    inverse_mass
        First guess of the variance of u, (n, dim).
    num_chains
        Number of chains.
    num_warmup
        Number of transitions that `update` will see.
    target_accept
        Acceptance probability to reach, where steps no longer than `longest` do.
    longest
        Longest step, in whitened units.

    References
    ----------
    Hoffman & Gelman 2014, arXiv:1111.4246, section 3.2 (step sizes); the Stan reference manual, on HMC's warm-up
    (windows); nutpie, https://github.com/pymc-devs/nutpie (mass from slopes).
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
        """The step to try next, (chains, n)."""
        return self.log_step.exp()

    @property
    def learned(self) -> Tensor:
        """The step to keep after warm-up, (chains, n)."""
        return self.log_mean.exp()

    def update(self, accept_prob: Tensor, state: State) -> None:
        """Take in a transition: its acceptance probability, (chains, n), and where it led."""
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
        """Running mean and squares of u and of the slope in each chain, (2, chains, n, dim) (Welford)."""
        self.counted += 1
        off = seen - self.mean
        self.mean = self.mean + off / self.counted
        self.squares = self.squares + off * (seen - self.mean)

    def _weigh(self) -> None:
        """The variance of u and the inverse of the slope's, which for a normal are one, evened out.

        Within chains, for two modes are no width, and as if five draws had the last mass.
        """
        of_u, of_slope = self.squares.sum(1)
        found = ((of_u + 5 * self.inverse_mass) / (of_slope + 5 / self.inverse_mass)).sqrt()
        self.inverse_mass = found.where(found.isfinite() & (found > 0), self.inverse_mass)  # a slope may overflow
        self._clear()

    def _clear(self) -> None:
        self.counted = 0
        self.mean = self.squares = self.inverse_mass.new_zeros(2, 1, *self.inverse_mass.shape)


def windows(num_warmup: int) -> list[int]:
    """Where the windows of a warm-up begin and end: the first 15 % and the last 10 % are for step sizes alone."""
    edges, size, last = [round(0.15 * num_warmup)], max(1, round(0.05 * num_warmup)), round(0.9 * num_warmup)
    while edges[-1] < last:
        end = edges[-1] + size
        size *= 2
        edges.append(end if end + size <= last else last)
    return edges
