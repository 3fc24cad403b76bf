"""Properties that hold for whatever numbers hypothesis comes up with."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppl_vae import Domain
from ppl_vae.distributions import DiagonalNormal, DiscretizedLogistic, Mixture
from ppl_vae.importance import log_marginal, psis
from ppl_vae.objectives import Cyclical, Linear

FINITE = st.floats(-1e3, 1e3)
SCALE = st.floats(0.05, 1e3)


@given(FINITE, SCALE, st.integers(2, 300))
def test_a_discretized_logistic_has_mass_one_and_a_mean_within_its_levels(loc, scale, levels):
    p = DiscretizedLogistic(torch.tensor(loc).double(), torch.tensor(scale).double(), levels)
    mass = p.log_prob(torch.arange(levels).double()).exp()
    assert abs(mass.sum() - 1) < 1e-9
    assert abs(p.mean - (mass * torch.arange(levels)).sum()) < 1e-6


@given(st.lists(FINITE, min_size=6, max_size=6), st.lists(SCALE, min_size=6, max_size=6), st.floats(-5, 5))
def test_a_mixture_lies_between_its_components(loc, scale, at):
    loc, scale = (torch.tensor(v).double().reshape(3, 2) for v in (loc, scale))
    components = DiagonalNormal(loc, scale)
    z = torch.full((2,), at).double()
    each = components.log_prob(z)
    mixed = Mixture(torch.zeros(3).double(), components).log_prob(z)
    slack = 1e-6 * each.abs().max() + 1e-6
    assert each.min() - slack <= mixed <= each.max() + slack


@given(st.integers(0, 2**31 - 1), st.floats(0.1, 3.0), FINITE)
def test_a_constant_factor_of_the_weights_moves_log_p_and_nothing_else(seed, spread, shift):
    log_w = spread * torch.randn(60, 3, generator=torch.Generator().manual_seed(seed)).double()
    a, b = log_marginal(log_w), log_marginal(log_w + shift)
    torch.testing.assert_close(b.estimate, a.estimate + shift)
    torch.testing.assert_close(b.ess, a.ess)
    torch.testing.assert_close(psis(log_w + shift)[1], psis(log_w)[1], atol=1e-6, rtol=1e-6)
    assert (a.estimate >= log_w.mean(0) - 1e-9).all()


@given(st.floats(-100, 100), st.floats(0.01, 100), st.floats(-100, 100), st.floats(0.01, 100))
def test_domains_compose(shift, span, then_shift, then_span):
    raw = torch.linspace(-3, 3, 7).double()
    once = Domain("real").rescaled(shift, span, kind="real")
    twice = once.rescaled(then_shift, then_span, kind="real")
    x = ((raw - shift) / span - then_shift) / then_span
    torch.testing.assert_close(twice.raw(x), raw, atol=1e-6, rtol=1e-6)
    assert np.isclose(twice.log_volume, np.log(span) + np.log(then_span))


@given(st.integers(0, 10_000), st.integers(1, 50), st.floats(0.5, 100), st.integers(1, 9), st.floats(0.01, 1.0))
def test_warm_ups_stay_within_their_range_and_end_at_one(step, per_epoch, epochs, cycles, ramp):
    for beta in (Linear(epochs), Cyclical(epochs, cycles, ramp)):
        assert 0 < beta(step, per_epoch) <= 1
        assert beta(int(epochs * per_epoch) + 1, per_epoch) == 1
