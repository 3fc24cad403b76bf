"""`evaluate(method="adaptive")` against exact log p(x); what it keeps, what it finds, and what it refuses."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from small_models import CASES, ppca, two_modes

from ppl_vae import Program, check_guide, compare, diagnose, evaluate
from ppl_vae.adaptive import improve
from ppl_vae.adaptive.leftovers import cost
from ppl_vae.diagnostics import Elpd, elpd, log_marginal_likelihood
from ppl_vae.evaluation import Evaluation

QUIET = {"progress": False, "seed": 0}


def adaptive(program, x, **settings):
    return evaluate(program, x, method="adaptive", **QUIET | settings)


@pytest.mark.parametrize("s", [0.5, 0.8])
def test_intervals_cover_over_all_believed_data(s):
    known = ppca(latent_dim=6, dim=12, n=300, s=s)
    found = adaptive(known.vae, known.x)
    table = found.per_datum
    error = (table.log_px - known.log_px.numpy())[table.believed]
    noise = 3 * math.sqrt(0.05 * 0.95 / len(error))
    assert 0.93 - noise < (error.abs() <= 1.96 * table.log_px_mcse[table.believed]).mean() <= 0.97 + noise
    assert table.believed.mean() > 0.99
    assert abs(error.mean()) < 0.01
    assert found.unreliable == pytest.approx(1 - table.believed.mean())
    np.testing.assert_allclose(table.kl_gap, table.log_px - table.elbo)


def test_a_bound_that_is_lower_than_that_of_q_is_not_taken(monkeypatch):
    known = ppca(latent_dim=2, dim=4, n=40, s=0.3)  # a q that is too narrow
    by_q = evaluate(known.vae, known.x, **QUIET).per_datum

    def low(density, rows, settings, seen=None):
        found = improve(density, rows, settings, seen)
        adapted = replace(
            found.adapted, log_w=found.adapted.log_w - torch.tensor([0.0, 50.0]).repeat(len(rows))[: len(rows)]
        )
        believed = found.believed & (torch.arange(len(rows)) % 4 < 2)
        return replace(found, adapted=adapted, believed=believed, annealed=rows[:0], log_chains=adapted.log_w[:, :0])

    monkeypatch.setattr("ppl_vae.evaluation.adaptive.improve", low)
    found = adaptive(known.vae, known.x).per_datum
    kept = (~found.believed) & (found.method == "importance")
    taken = (~found.believed) & (found.method == "adaptive")
    assert kept.sum() > 3
    assert taken.sum() > 3
    pd.testing.assert_frame_equal(found.loc[kept, by_q.columns[:5]], by_q.loc[kept, by_q.columns[:5]])
    np.testing.assert_array_equal(found.log_px[kept], by_q.log_px[kept])
    assert (found.log_px >= by_q.log_px)[taken].all()
    np.testing.assert_allclose(found.kl_gap, found.log_px - found.elbo)


def test_data_with_a_good_k_hat_keep_their_numbers():
    known = ppca(s=0.9, n=40)
    call = QUIET | {"seed": 1}  # with 0 and the random numbers of torch 2.6 the search from the prior has a false alarm
    plain, found = evaluate(known.vae, known.x, **call), adaptive(known.vae, known.x, **call)
    assert plain.unreliable == 0
    assert (found.per_datum.method == "importance").all()
    pd.testing.assert_frame_equal(found.per_datum[plain.per_datum.columns], plain.per_datum, check_exact=True)
    assert found.methods == "40 of 40 by importance sampling"
    assert found.per_datum.evaluations.mean() < 1.25 * 1000
    assert found.per_datum.evaluations.max() < 1.65 * 1000  # where a climb goes on


def test_only_data_with_a_high_k_hat_change():
    known = ppca(latent_dim=6, dim=12, n=60, s=0.6)
    plain, found = evaluate(known.vae, known.x, **QUIET), adaptive(known.vae, known.x)
    kept = found.per_datum.method == "importance"
    assert not kept.all()
    pd.testing.assert_frame_equal(found.per_datum[kept][plain.per_datum.columns], plain.per_datum[kept])
    assert (found.per_datum.elbo == plain.per_datum.elbo).all()


def test_a_mode_that_q_misses_is_found_from_the_prior():
    program, x = two_modes(), torch.linspace(0.5, 2.0, 12).double()
    z = torch.linspace(-8, 8, 100_001).double()
    joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z**2, 0.1).log_prob(x[:, None])
    exact = (joint.logsumexp(1) + math.log(16 / 100_000)).numpy()
    plain, found = evaluate(program, x, **QUIET), adaptive(program, x)
    assert (plain.per_datum.log_px - exact).mean() == pytest.approx(-math.log(2), abs=0.05)
    right = (found.per_datum.log_px - exact).abs() < 4 * found.per_datum.log_px_mcse + 0.01
    assert (right | ~found.per_datum.believed).all()
    assert right.mean() > 0.9
    assert "more than 5 % of p(x) was found where q's draws have none, for 12 data" in repr(found)


def test_a_mode_in_the_tail_of_the_prior_with_a_seventh_of_the_mass_is_found():
    modes, widths = torch.tensor([[-0.2, 0.7], [1.9, 1.9]]).double(), torch.tensor([0.06, 0.07]).double()
    share = torch.tensor([6 / 7, 1 / 7]).double()
    prior = dist.Normal(torch.zeros(2).double(), 1.0).to_event(1)
    x = torch.zeros(60).double()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            parts = dist.Normal(modes, widths.unsqueeze(-1).expand(2, 2)).to_event(1).log_prob(z.unsqueeze(-2))
            # so that the posterior is the mixture and p(x) is one
            pyro.factor("seen", (parts + share.log()).logsumexp(-1) - prior.log_prob(z))
            pyro.sample("x", dist.Normal(torch.zeros_like(x), (2 * math.pi) ** -0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(modes[0], 0.03).expand((len(x), 2)).to_event(1))

    found = adaptive(Program(model, guide), x).per_datum
    right = found.log_px.abs() < 4 * found.log_px_mcse + 0.01
    # found for 85 % of 300 data, and no other number than of one mode or of both
    assert right.sum() > 60 * 0.85 - 4 * math.sqrt(60 * 0.85 * 0.15)
    one = (found.log_px - math.log(6 / 7)).abs() < 4 * found.log_px_mcse + 0.01
    assert (right | one).all()


def mixture(n=40):
    """A prior of two normals in three dimensions, q one wide normal off to a side, log p(x) in closed form."""
    loc = torch.tensor([[2.0, 0.0, 0.0], [-2.0, 1.0, 0.0]]).double()
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0)).double()

    def prior():
        parts = dist.Normal(loc, 0.5).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.3, 0.7]).double()), parts)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x * 0.2 + 1, 0.7).to_event(1))

    each = dist.Normal(loc, 1.25**0.5).to_event(1).log_prob(x[:, None])
    return Program(model, guide), x, (each + torch.tensor([0.3, 0.7]).double().log()).logsumexp(1).numpy()


def test_a_mixture_with_a_closed_form():
    program, x, exact = mixture()
    found = adaptive(program, x).per_datum
    error = (found.log_px - exact)[found.believed]
    assert found.believed.mean() > 0.9
    assert (error.abs() < 4 * found.log_px_mcse[found.believed] + 0.01).all()


def test_states_that_were_never_drawn_are_not_believed():
    """Beside a latent with a density they are not summed over, and q has them once in 100,000 draws."""

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.5))
            z = pyro.sample("z", dist.Normal(3 * k, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Bernoulli(torch.full((len(x),), 1 - 1e-5)))
            pyro.sample("z", dist.Normal((x + 3) / 2, 0.5**0.5))

    found = evaluate(Program(model, guide), torch.zeros(5), method="adaptive", num_samples=400, **QUIET)
    assert not found.per_datum.believed.any()
    assert "a lower bound" in repr(found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_kind_of_model_against_quadrature(case):
    program, x, context, mask = case()
    given = (program, x, *context)
    found = evaluate(*given, mask=mask, method="adaptive", num_samples=400, **QUIET).per_datum
    exact = log_marginal_likelihood(*given, mask=mask, method="quadrature", progress=False).log_px.to_numpy()
    error = (found.log_px - exact)[found.believed]
    assert found.believed.mean() > 0.8
    assert (error.abs() < 4 * found.log_px_mcse[found.believed] + 0.02).all()


def test_what_is_left_is_annealed_and_the_rest_are_bounds(tmp_path):
    """One round of few draws in 40 dimensions leaves data with a high k-hat."""
    known = ppca(latent_dim=40, dim=60, n=6, s=0.3)
    found = adaptive(known.vae, known.x, num_samples=50, num_rounds=1, num_temperatures=60)
    table = found.per_datum
    assert (table.method == "annealing").any()
    annealed = table[table.method == "annealing"]
    assert annealed.pareto_k.isna().all()
    assert (annealed.evaluations > 16 * 60).all()
    error = (table.log_px - known.log_px.numpy())[table.believed]
    assert (error.abs() < 5 * table.log_px_mcse[table.believed] + 0.3).all()
    assert "by annealing" in found.methods or "bound" in found.methods
    found.save(tmp_path / "evaluation.json")
    again = Evaluation.load(tmp_path / "evaluation.json")
    pd.testing.assert_frame_equal(again.per_datum, table, check_dtype=False)
    assert repr(again) == repr(found)


def test_data_whose_chains_are_not_settled_are_annealed_longer():
    """Of chains over 25 temperatures most spread too much; over 50 or 100 they do not, and the intervals cover."""
    known = ppca(latent_dim=20, dim=30, n=50, s=0.3)
    table = adaptive(known.vae, known.x, num_samples=30, num_rounds=1, num_temperatures=25).per_datum
    assert (table.evaluations > cost(25) + cost(50)).any()
    assert table.believed.mean() > 0.75
    error = (table.log_px - known.log_px.numpy())[table.believed]
    noise = 3 * math.sqrt(0.05 * 0.95 / len(error))
    assert (error.abs() <= 1.96 * table.log_px_mcse[table.believed]).mean() > 0.93 - noise


def test_one_datum_and_a_seed():
    known = ppca(s=0.4, n=1)
    found, again = (adaptive(known.vae, known.x, num_samples=200) for _ in range(2))
    pd.testing.assert_frame_equal(found.per_datum, again.per_datum)
    assert len(found.per_datum) == 1


def discrete(x):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Bernoulli(torch.tensor(0.5).double()))
        z = pyro.sample("z", dist.Normal(torch.tensor(0.0).double(), 1.0))
        pyro.sample("x", dist.Normal(z + 3 * y, 1.0), obs=x)


def both(x):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Bernoulli(logits=2 * (x - 1.5)))
        pyro.sample("z", dist.Normal((x - 3 * y) / 2, 0.4))


def test_discrete_sites_are_left_as_they_are_with_a_sentence():
    x = torch.tensor([-1.0, 1.5, 4.0]).double()
    plain, found = evaluate(Program(discrete, both), x, **QUIET), adaptive(Program(discrete, both), x)
    pd.testing.assert_frame_equal(found.per_datum[plain.per_datum.columns], plain.per_datum)
    assert "only q was tried: log p(x, z) as a function of z expects latents with densities, got the discrete 'y'" in (
        repr(found)
    )


def hole(x):
    """A decoder that returns NaN for z above 1."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.tensor(0.0).double(), 1.0))
        pyro.sample("x", dist.Normal(torch.where(z > 1, math.nan, z), 0.5), obs=x)


def below(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(-1.0 + 0 * x, 0.15))


def test_a_decoder_that_returns_nan_is_named():
    found = adaptive(Program(hole, below), torch.tensor([-0.5, -0.4]).double())
    assert not found.per_datum.believed.any()
    assert "log p(x, z) was NaN at some draws of 2 data, which are not believed" in repr(found)


def test_refusals():
    known = ppca(n=3)
    with pytest.raises(ValueError, match=r"expects a method among .* got 'best'; choose one"):
        evaluate(known.vae, known.x, method="best")
    with pytest.raises(ValueError, match=r"expects num_samples of 25 or more, got 24"):
        adaptive(known.vae, known.x, num_samples=24)
    for budget in ("num_rounds", "num_temperatures"):
        with pytest.raises(ValueError, match=rf"{budget}.* got 0"):
            adaptive(known.vae, known.x, **{budget: 0})


def flat(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), ()).expand([len(x)]))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def point(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Delta(x))


def test_a_point_mass_and_an_improper_prior_have_no_log_px():
    with pytest.raises(ValueError, match=r"got a point mass \(Point\) or an improper prior.*use method='importance'"):
        adaptive(Program(flat, point), torch.zeros(3).double())


def test_diagnostics_take_the_method():
    known = ppca(latent_dim=6, dim=12, n=30, s=0.5)
    call = {"method": "adaptive", "num_samples": 400, **QUIET}
    found = evaluate(known.vae, known.x, **call)
    check = check_guide(known.vae, known.x, **call)
    assert check.known.all()
    assert f"Can log p(x) be believed?  Yes: {found.methods}." in check.report()
    assert "evaluate(..., method='adaptive')" in check_guide(known.vae, known.x, num_samples=400, **QUIET).report()
    by_lml = log_marginal_likelihood(known.vae, known.x, **call)
    np.testing.assert_array_equal(by_lml.log_px, found.per_datum.log_px)
    assert by_lml.believed.all()
    by_elpd = elpd(known.vae, known.x, **call)
    assert by_elpd.method == Elpd.of(found).method == "adaptive"
    assert by_elpd.unreliable == Elpd.of(found).unreliable == 0
    assert elpd(known.vae, known.x, num_samples=400, **QUIET).unreliable > 0.5
    assert diagnose(known.vae, known.x, subset=5, diagnostics=[], **call).check.evaluation.methods == found.methods
    table = compare({"plain": evaluate(known.vae, known.x, num_samples=400, **QUIET), "adaptive": found})
    assert table.unreliable["adaptive"] == 0
    assert table.caution["adaptive"] == ""
    assert table.nll["adaptive"] < table.nll["plain"]


def log_factor(z):
    """Higher towards both edges of an interval, beyond which there is next to nothing, and no gradient says so."""
    u = z / 0.1
    return torch.where(u.abs() < 2.2, 1.5 * u.square(), -60.0)


def edged(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(1).double(), 1.0).expand((len(x), 1)).to_event(1))[..., 0]
        pyro.factor("edges", log_factor(z))
        pyro.sample("x", dist.Normal(torch.zeros_like(z), 1.0), obs=x)


def between_the_edges(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0 * x[:, None], 0.1).to_event(1))


def test_a_refinement_that_diverges_falls_back_and_says_so():
    """Steps that widen q beyond the edges lower the ELBO: q's own moments are the start, and the estimate is right."""
    x = torch.linspace(-1, 1, 10).double()
    found = adaptive(Program(edged, between_the_edges), x)
    z = torch.linspace(-8, 8, 2_000_001).double()
    mass = (dist.Normal(0.0, 1.0).log_prob(z) + log_factor(z)).logsumexp(0) + math.log(8e-6)
    exact = (dist.Normal(0.0, 1.0).log_prob(x) + mass).numpy()
    assert re.search(r"gradient steps lowered the ELBO of \d+ data, which went on from q itself", repr(found))
    table = found.per_datum
    error = (table.log_px - exact)[table.believed]
    assert len(error) > 5
    assert (error.abs() < 4.5 * table.log_px_mcse[table.believed] + 0.01).all()


def test_a_good_k_hat_among_many_high_ones_is_not_taken_for_good():
    """One round of few draws leaves high k-hats; the few good ones are luck, and were 1 to 3 nats too low."""
    known = ppca(latent_dim=20, dim=30, n=30, s=0.3)
    table = adaptive(known.vae, known.x, num_samples=30, num_rounds=1, num_temperatures=60).per_datum
    assert (table.method == "annealing").all()
    error = (table.log_px - known.log_px.numpy())[table.believed]
    assert len(error) > 10
    assert (error.abs() < 3 * table.log_px_mcse[table.believed] + 0.1).all()


@pytest.mark.parametrize("method", ["importance", "adaptive"])
def test_a_datum_that_no_draw_explains_is_minus_infinity_alone(method):
    exact = ppca(n=8)
    x = exact.x.clone()
    x[5] = 1e160 if x.dtype == torch.float64 else 3e19
    found = evaluate(exact.vae, x, method=method, num_samples=100, seed=0, progress=False).per_datum
    assert found["log_px"].tolist()[5] == -math.inf
    rest = [i for i in range(8) if i != 5]
    np.testing.assert_allclose(found["log_px"].to_numpy()[rest], exact.log_px.numpy()[rest], atol=0.3)
