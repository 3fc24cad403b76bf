import arviz
import numpy as np
import pytest
import xarray as xr

from ppl_vae.diagnostics.results import ess, ess_of_mean, rhat

rng = np.random.default_rng(0)


def chains(kind, num, length):
    """Draws (chain, draw, variable) of each kind that chains give."""
    z = rng.standard_normal((num, length, 8))
    if kind == "slow":
        z = z.cumsum(1)
    elif kind == "ties":
        z = np.round(2 * z)
    elif kind == "antithetic":
        z[:, 1::2] = 0.1 * z[:, 1::2] - 0.9 * z[:, ::2][:, : z[:, 1::2].shape[1]]
    elif kind == "apart":
        z = z + 10 * np.arange(num)[:, None, None]
    elif kind == "constant":
        z[..., 0] = 1
        z[..., 1] = np.where(rng.random((num, length)) < 0.9, 0, z[..., 1])
    return z


@pytest.mark.filterwarnings("ignore")  # ArviZ's, of short chains and of constant ones
@pytest.mark.parametrize("shape", [(8, 500), (4, 101), (2, 499), (1, 50), (2, 4), (2, 5), (2, 6), (2, 7), (3, 8)])
@pytest.mark.parametrize("kind", ["independent", "slow", "ties", "antithetic", "apart", "constant"])
def test_they_are_those_of_arviz(kind, shape):
    z = chains(kind, *shape)
    with np.errstate(all="ignore"):
        of_arviz = xr.Dataset({"z": (("chain", "draw", "variable"), z)})
        np.testing.assert_allclose(ess(z), arviz.ess(of_arviz)["z"].values, rtol=1e-9)
        np.testing.assert_allclose(ess_of_mean(z), arviz.ess(of_arviz, method="mean")["z"].values, rtol=1e-9)
        if len(z) > 1:
            np.testing.assert_allclose(rhat(z), arviz.rhat(of_arviz)["z"].values, rtol=1e-9)


def test_any_shape_of_variables():
    z = chains("independent", 4, 60)
    assert ess(z[..., 0]) == ess(z)[0]
    assert rhat(z.reshape(4, 60, 2, 4)).shape == (2, 4)


def test_what_has_none_is_nan():
    z = chains("independent", 4, 60)
    z[0, 0, 0], z[0, 0, 1] = np.nan, np.inf
    for found in (ess(z), ess_of_mean(z), rhat(z)):
        assert np.isnan(found[:2]).all()
        assert np.isfinite(found[2:]).all()
    assert np.isnan(rhat(z[:1])).all()
    assert np.isnan(ess(z[:, :3])).all()
    assert np.isnan(rhat(z[:, :3])).all()


def test_two_values_in_equal_numbers_have_an_r_hat():
    z = np.stack([np.tile([0.0, 0.0, 1.0, 1.0], 25), np.tile([1.0, 0.0], 50)])[..., None]
    of_arviz = xr.Dataset({"z": (("chain", "draw", "variable"), z)})
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(rhat(z), arviz.rhat(of_arviz)["z"].values, rtol=1e-9)
    stuck = np.repeat([[0.0], [1.0]], 100, 1)[..., None]
    assert rhat(stuck)[0] > 1e6


def test_the_middle_draw_of_an_odd_number_counts_as_not_finite():
    z = chains("independent", 2, 101)
    z[0, 50, 0] = np.nan
    for found in (ess(z), ess_of_mean(z), rhat(z)):
        assert np.isnan(found).tolist() == [True] + 7 * [False]


def test_r_hat_is_the_same_at_any_scale():
    z = chains("slow", 4, 200)
    z = z / np.abs(z).max()
    np.testing.assert_array_equal(rhat(z * np.finfo(float).max), rhat(z))


def test_single_precision_as_double():
    z = chains("slow", 4, 200).astype(np.float32)
    np.testing.assert_array_equal(ess(z), ess(z.astype(float)))
