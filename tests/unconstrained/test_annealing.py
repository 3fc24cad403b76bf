"""The pilot run of annealing: its temperatures, masses, and the step sizes between them."""

from types import SimpleNamespace

import pytest
import torch
from tqdm import tqdm

from ppl_vae.unconstrained.annealing import Settings, Tempered, _interpolated, anneal, num_pilot, schedule


def test_a_pilot_run_has_a_quarter_of_the_temperatures_and_at_least_a_hundred():
    assert [num_pilot(n) for n in (3, 100, 240, 400, 500)] == [3, 100, 100, 100, 125]


@pytest.mark.parametrize("last", [1, 7, 100])
def test_all_temperatures_keep_their_step_sizes(last):
    values = torch.rand(last + 1, 3)
    assert torch.equal(_interpolated(values, torch.arange(last + 1)), values)


def test_step_sizes_between_two_temperatures_are_interpolated():
    values = torch.tensor([[0.0, 1.0], [4.0, 1.0], [5.0, 7.0]])
    found = _interpolated(values, torch.tensor([0, 4, 6]))
    expected = [[0.0, 1], [1, 1], [2, 1], [3, 1], [4, 1], [4.5, 4], [5, 7]]
    torch.testing.assert_close(found, torch.tensor(expected))


class Narrowed(Tempered):
    """From N(0, I) to a normal with these standard deviations."""

    def __init__(self, sd, num):
        self.sd, self.num, self.joint = sd, num, SimpleNamespace(size=num)

    @property
    def ends(self):
        def log_densities(u):
            first, last = -0.5 * u.square().sum(-1), (-0.5 * (u / self.sd).square() - self.sd.log()).sum(-1)
            return first, last - first, -u, u - u / self.sd.square()

        return log_densities

    def draws(self, num):
        return torch.randn(num, self.num, len(self.sd))


@pytest.fixture
def narrowed():
    torch.manual_seed(0)
    return Narrowed(torch.tensor([0.02, 0.1, 0.5, 1.0]), 30)


def tuned(path, num_temperatures):
    return Settings.tuned(path, schedule(num_temperatures), 8, 3, tqdm(disable=True))


def test_masses_follow_the_precisions_along_the_path(narrowed):
    settings, betas = tuned(narrowed, 400), schedule(400)
    assert settings.inverse_masses.shape == (101, 30, 4)
    for at in (200, 400):
        precision = 1 - betas[at] + betas[at] / narrowed.sd.square()
        found = settings.inverse_masses[settings.nearest[at]].mean(0) * precision
        assert ((found > 0.5) & (found < 2)).all(), found  # a running mean lags, and has noise


def test_reversed_settings_have_the_mass_of_each_temperature(narrowed):
    settings = tuned(narrowed, 150)
    assert settings.nearest[0] == 0
    assert settings.nearest[-1] == 100
    assert torch.equal(settings.reversed.nearest, settings.nearest.flip(0))
    assert torch.equal(settings.reversed.inverse_masses, settings.inverse_masses)


def test_annealing_to_a_narrow_normal_is_unbiased(narrowed):
    betas = schedule(400)
    settings = tuned(narrowed, 400)
    log_w, acceptance = anneal(narrowed, narrowed.draws(8), betas, settings, tqdm(disable=True))
    w = log_w.exp().flatten()
    assert abs(w.mean() - 1) < 4 * w.std() / len(w) ** 0.5  # both ends are without (2 pi)^(-2)
    assert 0.6 < acceptance.mean() < 0.95
