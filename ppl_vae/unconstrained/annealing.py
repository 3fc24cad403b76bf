"""Annealing from the prior or q to the posterior."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.captured import Function
from ppl_vae.precision import in_float64
from ppl_vae.unconstrained.hmc_kernel import TWO_STAGE, Integrator, LogDensity, State, init, transition
from ppl_vae.unconstrained.log_joint import LogJoint

__all__ = ["Path", "Settings", "Tempered", "anneal", "num_pilot", "schedule"]

TARGET = 0.8  # target acceptance rate of the pilot run
FIRST = 1.2  # length of its first trajectory, in standard deviations of f_0
WIDEST = 10.0  # largest inverse mass, in variances of f_0
SHARE = 0.1  # of squared gradients at one temperature in the running mean whose inverse is the mass
GAIN = 0.2  # change of the log step size per unit of acceptance above the target


class Tempered(abc.ABC):
    """A path of densities, log f_beta = log f_0 + beta (log p(x, u) - log f_0), from an f_0 that can be drawn from."""

    joint: LogJoint

    @functools.cached_property
    @abc.abstractmethod
    def ends(self) -> Function:
        """log f_0 and log p(x, u) - log f_0 at u, and their gradients, from which those of any log f_beta are sums."""

    @abc.abstractmethod
    def draws(self, num: int) -> Tensor:
        """Draws of f_0, (num, n, dim)."""

    def at(self, beta: float) -> LogDensity:
        """log f_beta, in float64, so that differences between two of them at one u are exact."""

        def log_f(u: Tensor) -> Sequence[Tensor]:
            first, rise, *grads = self.ends(u)
            ends = in_float64(first), in_float64(rise), *grads
            return *_between(beta, *ends), *ends

        return log_f

    def moved(self, state: State, beta: float) -> State:
        """A state of this path at another beta, without another evaluation of a gradient."""
        return State.of(state.u, *_between(beta, *state.more), *state.more)


@dataclass(frozen=True)
class Path(Tempered):
    """The path to the posterior from the prior, or from q."""

    joint: LogJoint
    from_guide: bool

    @functools.cached_property
    def ends(self) -> Function:
        """The log densities at both ends, and their gradients."""
        if self.from_guide:
            return self.joint.gradients(lambda found: [found.log_guide, found.log_weight], guide=True)
        return self.joint.gradients(lambda found: [found.log_prior, found.log_likelihood])

    def draws(self, num: int) -> Tensor:
        """Draws of f_0, (num, n, dim)."""
        return self.joint.from_guide(num) if self.from_guide else self.joint.from_prior(num)


@dataclass(frozen=True)
class Settings:
    """Settings of the HMC transitions along the path, shared by the forward and the reverse run.

    Attributes
    ----------
    inverse_masses
        Diagonals, by temperature of the pilot run, (pilot temperatures + 1, n, dim).
    nearest
        Which of them is used at each temperature, (temperatures + 1,).
    step_sizes
        (temperatures + 1, n); the one at temperature 0 is only used by the last transition of a reverse run, which does
        not affect the weights.
    num_steps, integrator
        Steps per transition, and what one is.
    """

    inverse_masses: Tensor
    nearest: Tensor
    step_sizes: Tensor
    num_steps: int
    integrator: Integrator = TWO_STAGE

    @classmethod
    def tuned(
        cls,
        path: Tempered,
        betas: list[float],
        num_chains: int,
        num_steps: int,
        bar: tqdm,
        integrator: Integrator = TWO_STAGE,
    ) -> Settings:
        """Settings from a pilot run with separate chains: adapting to the chains themselves would bias the weights.

        It has a quarter of the temperatures, at least 100 where there are so many; between them step sizes are
        interpolated geometrically. Masses follow the mean squared gradients, which are the precisions where f_beta is
        normal: under a posterior far narrower than f_0 in some directions, steps with the mass of f_0 cross the others
        slowly.
        """
        many = [path.draws(num_chains) for _ in range(math.ceil(100 / num_chains))]
        first = torch.cat(many).var(0).clamp_min(1e-10)
        log_step, precision = torch.full_like(first[:, 0], math.log(FIRST / num_steps)), 1 / first
        used = [(log_step, first)]
        state = init(path.at(betas[0]), path.draws(num_chains))
        last = len(betas) - 1
        at = torch.linspace(0, last, num_pilot(last) + 1, dtype=torch.float64).round().long()
        for beta in [betas[i] for i in at[1:]]:
            inverse_mass = torch.minimum(1 / precision, WIDEST * first)
            used.append((log_step, inverse_mass))
            log_f = path.at(beta)
            here = path.moved(state, beta)
            jittered = _jittered(log_step.exp(), here.log_p)
            state, info = transition(log_f, here, jittered, inverse_mass, num_steps, integrator)
            log_step = log_step + GAIN * (info.accept_prob.mean(0) - TARGET).to(log_step)
            found = torch.lerp(precision, state.grad.square().mean(0), SHARE)
            precision = found.where(found.isfinite() & (found > 0), precision)
            bar.update(path.joint.size)
        log_steps, inverse_masses = map(torch.stack, zip(*used, strict=True))
        nearest = torch.searchsorted(at, torch.arange(last + 1))
        return cls(inverse_masses, nearest, _interpolated(log_steps, at).exp(), num_steps, integrator)

    @property
    def reversed(self) -> Settings:
        """Settings for the schedule from 1 to 0."""
        return replace(self, nearest=self.nearest.flip(0), step_sizes=self.step_sizes.flip(0))


def num_pilot(num_temperatures: int) -> int:
    """Temperatures of the pilot run."""
    return min(num_temperatures, max(100, num_temperatures // 4))


def _interpolated(values: Tensor, at: Tensor) -> Tensor:
    """Values (k, n) that are known at some ascending integers, from 0 on, at all integers between."""
    everywhere = torch.arange(int(at[-1]) + 1)
    after = torch.searchsorted(at, everywhere)
    before = (after - 1).clamp_min(0)
    share = (everywhere - at[before]) / (at[after] - at[before]).clamp_min(1)
    return torch.lerp(values[before], values[after], share.to(values).unsqueeze(-1))


def _between(beta: float, first: Tensor, rise: Tensor, first_grad: Tensor, rise_grad: Tensor) -> tuple[Tensor, Tensor]:
    """log f_beta and its gradient."""
    if not beta:
        return first, first_grad  # 0 * -inf is NaN
    return first + beta * rise, first_grad + beta * rise_grad


def schedule(num_temperatures: int) -> list[float]:
    """Sigmoid schedule of beta from 0 to 1, slowest at both ends.

    References
    ----------
    Grosse et al. 2015, arXiv:1511.02543.
    """
    t = torch.linspace(-4, 4, num_temperatures + 1, dtype=torch.float64).sigmoid()
    return ((t - t[0]) / (t[-1] - t[0])).tolist()


def anneal(path: Tempered, u: Tensor, betas: list[float], settings: Settings, bar: tqdm) -> tuple[Tensor, Tensor]:
    """Anneal draws u (chains, n, dim) of f_beta for the first beta to f_beta for the last.

    The mean weight is an unbiased estimate of the ratio of the two normalizing constants.

    Returns
    -------
    log_w : Tensor
        (chains, n), in nats and float64.
    acceptance : Tensor
        Mean acceptance probability, (n,).
    """
    state = init(path.at(betas[0]), u)
    log_w = torch.zeros_like(state.log_p)
    acceptance = torch.zeros_like(log_w[0])
    for beta, step_size, pilot in zip(betas[1:], settings.step_sizes[1:], settings.nearest[1:], strict=True):
        log_f = path.at(beta)
        here = path.moved(state, beta)
        log_w += (here.log_p - state.log_p).nan_to_num(-torch.inf, torch.inf, -torch.inf)  # a weight of zero stays zero
        jittered = _jittered(step_size, here.log_p)
        inverse_mass = settings.inverse_masses[pilot]
        state, info = transition(log_f, here, jittered, inverse_mass, settings.num_steps, settings.integrator)
        acceptance += info.accept_prob.mean(0)
        bar.update(path.joint.size)
    return log_w, acceptance / (len(betas) - 1)


def _jittered(step_size: Tensor, like: Tensor) -> Tensor:
    """Randomized step sizes, (n,) to (chains, n): trajectories of constant length may be periodic."""
    return step_size * torch.empty_like(like, dtype=step_size.dtype).uniform_(0.7, 1.1)
