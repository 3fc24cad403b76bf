"""Which units the picture of the latent space shows, and what its title says of them."""

import math

import matplotlib.pyplot as plt
import pytest
import torch

from ppl_vae.cli.figures import _latent_space
from ppl_vae.data import Split

SPREAD = torch.tensor([3.0, 1.0, 2.0, 0.1])


@pytest.mark.parametrize(
    ("variance", "units", "said"),
    [
        ([0.1, 0.9, 0.2, 0.5], ("z[1]", "z[3]"), "the two of 4 units whose mean under q varies most"),
        ([0.5, 0.5, 0.5, 0.5], ("z[0]", "z[1]"), "the two of 4 units whose mean under q varies most"),
        (None, ("z[0]", "z[2]"), "the two of 4 units whose draws vary most"),
        ([math.nan] * 4, ("z[0]", "z[2]"), "the two of 4 units whose draws vary most"),
        ([0.5, 0.5], ("z[0]", "z[2]"), "the two of 4 units whose draws vary most"),
    ],
)
def test_the_latent_space_shows_the_two_most_active_units(variance, units, said):
    codes = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * SPREAD
    ax = _latent_space(codes, Split.of(codes), variance)
    assert (ax.get_xlabel(), ax.get_ylabel()) == units
    assert ax.get_title() == f"one draw of q(z | x) for each datum\n{said}"
    plt.close(ax.figure)


def test_of_two_units_there_is_nothing_to_choose():
    codes = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    ax = _latent_space(codes, Split.of(codes), [0.1, 0.9])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z[0]", "z[1]")
    assert ax.get_title() == "one draw of q(z | x) for each datum"
    plt.close(ax.figure)
