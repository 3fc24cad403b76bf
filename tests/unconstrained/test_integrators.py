"""Integrators of HMC on the harmonic oscillator, whose trajectories are known."""

import math

import pytest
import torch

from ppl_vae.unconstrained.hmc_kernel import LEAPFROG, THREE_STAGE, TWO_STAGE, State, _moved

INTEGRATORS = [LEAPFROG, TWO_STAGE, THREE_STAGE]


def moved(integrator, num_steps, length, u, momentum, gradients=None):
    """Position, momentum and energy error after a trajectory of -u^2 / 2 of this length."""

    def log_p(u):
        if gradients is not None:
            gradients.append(len(u))
        return -0.5 * u.square().sum(-1), -u

    step = torch.full((*u.shape[:2], 1), length / num_steps).double()
    state, after = _moved(log_p, State.of(u, *log_p(u)), momentum, step, torch.ones_like(u), [integrator] * num_steps)
    energy = 0.5 * (state.u.square() + after.square() - u.square() - momentum.square())
    return state.u, after, energy


@pytest.fixture
def started():
    return torch.randn(2, 4000, 1, 1, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_a_trajectory_is_that_of_the_oscillator_to_second_order_and_returns(integrator, started):
    assert sum(drift for _, drift in integrator) == pytest.approx(1)
    assert sum(kick for kick, _ in integrator) + integrator[0][0] == pytest.approx(1)
    u, momentum = started
    exact = u * math.cos(1.5) + momentum * math.sin(1.5)
    errors = [float((moved(integrator, num, 1.5, u, momentum)[0] - exact).abs().mean()) for num in (8, 16)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    end, after, _ = moved(integrator, 3, 1.5, u, momentum)
    back, before, _ = moved(integrator, 3, 1.5, end, -after)
    torch.testing.assert_close(back, u)
    torch.testing.assert_close(before, -momentum)


@pytest.mark.parametrize(("integrator", "length"), [(TWO_STAGE, 2.1), (THREE_STAGE, 2.5)])
def test_one_step_loses_less_energy_than_three_leapfrog_steps(integrator, length, started):
    of_three, of_one = moved(LEAPFROG, 3, length, *started)[2], moved(integrator, 1, length, *started)[2]
    assert of_one.std() < 0.6 * of_three.std()


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_a_part_takes_a_gradient(integrator, started):
    gradients = []
    moved(integrator, 2, 1.0, *started, gradients)
    assert len(gradients) - 1 == 2 * len(integrator)  # one at the start
