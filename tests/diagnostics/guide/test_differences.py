import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from ppl_vae.diagnostics.guide.differences import differences


@pytest.fixture(params=["smooth", "ties", "far", "many"])
def draws(request):
    """Draws of q (draws, units) and of a reference (chain, draw, units)."""
    rng = np.random.default_rng(1)
    q, r = rng.standard_normal((300, 3)), 1.2 * rng.standard_normal((4, 150, 3)) + [0, 1, -2]
    if request.param == "ties":
        q, r = np.round(q), np.round(r, 1)
    elif request.param == "far":
        q = 1e4 + q
    elif request.param == "many":
        r = r.astype(np.float32).astype(float)[:, :, [0, 1, 2, 0]]
        q = q[:, [0, 1, 2, 0]]
    return q, r


def test_distances_are_those_of_scipy(draws):
    q, reference = draws
    found = differences(q, reference, 10_000)
    mean, sd = reference.mean((0, 1)), reference.std((0, 1))
    q, r = (q - mean) / sd, ((reference - mean) / sd).reshape(-1, q.shape[-1])
    pairs = list(zip(q.T, r.T, strict=True))
    np.testing.assert_allclose(
        found["ks"], [stats.ks_2samp(a, b, method="asymp").statistic for a, b in pairs], rtol=1e-12
    )
    np.testing.assert_allclose(found["wasserstein"], [stats.wasserstein_distance(a, b) for a, b in pairs], rtol=1e-12)
    few = r[np.linspace(0, len(r) - 1, len(q)).round().astype(int)]
    energy = 2 * distance.cdist(q, few).mean() - distance.pdist(q).mean() - distance.pdist(few).mean()
    np.testing.assert_allclose(found["energy_distance"], energy, rtol=1e-6, atol=1e-8)


def test_constant_units_are_left_out():
    q, r = np.zeros((50, 2)), np.zeros((4, 50, 2))
    r[..., 1] = np.random.default_rng(0).standard_normal((4, 50))
    found = differences(q, r, 40)
    assert all(np.isnan(found[name][0]) for name in ("mean_error", "ks", "wasserstein", "rhat"))
    assert np.isfinite(found["ks"][1])
    assert np.isfinite(found["energy_distance"])
