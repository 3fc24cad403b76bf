"""The pilot run of annealing: its temperatures, and the step sizes between them."""

import pytest
import torch

from ppl_vae.unconstrained.annealing import _interpolated, num_pilot


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
