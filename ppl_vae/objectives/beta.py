"""Schedules of beta, the weight of the KL while training: constant, or a warm-up."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

from ppl_vae.arguments import Count, Positive, Rate, checked

__all__ = ["BetaSchedule", "Constant", "Cyclical", "Linear"]


class BetaSchedule(abc.ABC):
    """The weight of the KL at each step of the training: `beta(step, steps_per_epoch)`, in (0, inf).

    Attributes
    ----------
    epochs
        Epochs after which the weight is constant; early stopping waits for that.
    """

    epochs: float

    @abc.abstractmethod
    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """The weight at a step, counted from 0."""


@checked
@dataclass(frozen=True)
class Constant(BetaSchedule):
    """A constant weight; other than 1 it is that of a beta-VAE, whose objective is not the ELBO.

    Parameters
    ----------
    beta
        The weight, positive.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For one that is not positive and finite.

    References
    ----------
    Higgins et al. 2017, openreview.net/forum?id=Sy2fzU9gl.
    """

    beta: Positive = 1.0
    epochs: float = field(default=0, init=False)

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """The weight at a step, counted from 0."""
        return self.beta


@checked
@dataclass(frozen=True)
class Linear(BetaSchedule):
    """Linear warm-up, (t + 1) / T over the steps of the first epochs, then 1.

    Parameters
    ----------
    epochs
        Length of the warm-up, positive.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For one that is not positive and finite.

    References
    ----------
    Bowman et al. 2016, arXiv:1511.06349; Sønderby et al. 2016, arXiv:1602.02282.

    Examples
    --------
    >>> [Linear(epochs=2)(step, 2) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    epochs: Positive = 10

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """The weight at a step, counted from 0."""
        return min(1.0, (step + 1) / (self.epochs * steps_per_epoch))


@checked
@dataclass(frozen=True)
class Cyclical(BetaSchedule):
    """Cyclical warm-up: in each cycle linearly from 0 to 1 over its first part, then 1; after all cycles 1.

    At least 1e-6: Pyro's scale must be positive.

    Parameters
    ----------
    epochs
        Length of all cycles together.
    cycles
        Number of cycles.
    ramp
        Part of each cycle spent rising, in (0, 1].

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For numbers that are not positive and finite, a part of a cycle, or a ramp above 1.

    References
    ----------
    Fu et al. 2019, arXiv:1903.10145.
    """

    epochs: Positive = 40
    cycles: Count = 4
    ramp: Rate = 0.5

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """The weight at a step, counted from 0."""
        if step >= self.epochs * steps_per_epoch:
            return 1.0
        phase = (step * self.cycles / (self.epochs * steps_per_epoch)) % 1.0
        return min(1.0, max(1e-6, phase / self.ramp))
