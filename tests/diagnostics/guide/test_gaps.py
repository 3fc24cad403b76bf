import math
from dataclasses import replace
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from small_models import CASES, SMALL, diagonal, flow, hierarchy, linear, ppca, some, two_modes, two_sites

from ppl_vae import VAE, Bernoulli, DiagonalNormal, Domain, Flat, FullRankNormal, Point, Program, StandardNormal
from ppl_vae.diagnostics.guide.families import family_of
from ppl_vae.diagnostics.guide.inference_gaps import inference_gaps
from ppl_vae.diagnostics.guide.refinement import Refined
from ppl_vae.diagnostics.posterior.grid import Grid
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.draws import score
from ppl_vae.find_plates import find_plates
from ppl_vae.split import Split
from ppl_vae.unconstrained.log_joint import log_joints

NATS = ("elbo", "refined_elbo", "log_px", "amortization_gap", "approximation_gap", "kl_gap")
QUICK = {"num_steps": 20, "num_particles": 4, "num_samples": 50, "seed": 0, "progress": False}


def raw(scale):
    """What `distributions.positive` makes a scale of."""
    return torch.log(torch.expm1(scale - 1e-4)) - math.log(math.e - 1)


def full_rank(n=60):
    """Probabilistic PCA with an exact q, all of whose parameters can be refined."""
    known = ppca(n=n)
    tril = torch.linalg.cholesky(known.covariance)
    scale = tril.diagonal()
    square = (tril / scale[:, None]).tril(-1) + torch.diag(raw(scale))
    return with_q(known, FullRankNormal, torch.zeros(2).double(), square.flatten())


def mean_field(s=1.0, shift=0.0, n=60, correlated=2.0):
    """The best q with a diagonal covariance, its scale and mean off by a known amount.

    Returns the model, and its two gaps in closed form: KL(q || p) less that of the best, and that of the best.
    """
    known = ppca(n=n, noise=0.5 * correlated, latent_dim=3)
    precision = torch.linalg.inv(known.covariance)
    scale = precision.diagonal() ** -0.5
    d = shift * scale
    best = 0.5 * (precision.diagonal().log().sum() - precision.logdet()).item()
    lost = 0.5 * (3 * (s**2 - 1 - 2 * math.log(s)) + d @ precision @ d).item()
    return with_q(known, DiagonalNormal, d, raw(s * scale), noise=0.5 * correlated), lost, best


def with_q(known, family, shift, rest, noise=0.5):
    """q with the exact mean but for a shift, and the same other parameters for all data."""
    mean_map = known.covariance @ known.weight.T / noise**2
    weight = torch.cat([mean_map, torch.zeros(len(rest), mean_map.shape[1]).double()])
    net = linear(weight, torch.cat([shift, rest]))
    q = family((known.x.shape[1],), len(mean_map), net)
    return known._replace(vae=VAE(known.vae.prior, known.vae.likelihood, q).double())


def over_data(gaps, name):
    """Mean and its standard error, by the larger of spread and Monte Carlo errors."""
    value, mcse = gaps[name].values, gaps[f"{name}_mcse"].values
    n = len(value)
    return value.mean(), max(value.std(ddof=1) / n**0.5, np.sqrt((mcse**2).sum()) / n)


@pytest.mark.parametrize("known", [full_rank(), ppca(n=60)], ids=["all parameters", "the mean alone"])
def test_an_exact_q_has_no_gap(known):
    gaps = inference_gaps(known.vae, known.x, seed=0)
    for name in ("amortization_gap", "approximation_gap", "kl_gap"):
        assert (abs(gaps[name]) <= 4 * gaps[f"{name}_mcse"] + 1e-10).all()
        mean, error = over_data(gaps, name)
        assert abs(mean) <= 4 * error + 1e-10
    np.testing.assert_allclose(gaps["log_px"], known.log_px, atol=4 * gaps["log_px_mcse"].max().item() + 1e-10)


def gradients(program, x, num, by_path):
    """Of the mean ELBO by every offset, flattened, with that many draws for each datum."""
    split = Split(x, torch.arange(len(x)))
    with diagnosing(program, split, seed=None):
        where = find_plates(program, split)
        refined = Refined(program, where, by_path=by_path)
        score(refined, (x,), True, 1, 0, 10_000, where)  # creates the offsets
        offsets = [o.requires_grad_() for some in refined.offsets.values() for o in some]
        with torch.enable_grad():
            elbo = score(refined, (x,), True, num, 0, 10_000, where).log_weights.mean(0).sum()
            return torch.cat([g.flatten() for g in torch.autograd.grad(elbo, offsets)])


def test_an_exact_q_does_not_move():
    known = full_rank(n=5)
    torch.manual_seed(0)
    assert gradients(known.vae, known.x, 2, by_path=True).abs().max() < 1e-9
    assert gradients(known.vae, known.x, 2, by_path=False).abs().max() > 1e-2


@pytest.mark.parametrize("case", [hierarchy, diagonal, flow, two_sites])
def test_what_the_gradient_leaves_out_has_mean_zero(case):
    made = case()
    torch.manual_seed(0)
    each = torch.stack([gradients(made.program, made.args[1], 100, by_path) for by_path in [True, False] * 30])
    of_path, whole = each[::2], each[1::2]
    error = ((of_path.var(0) + whole.var(0)) / 30).sqrt()
    assert ((of_path.mean(0) - whole.mean(0)).abs() < 5 * error + 1e-9).all()
    assert (whole.mean(0).abs() > 5 * error).any()


def test_the_approximation_gap_of_the_best_mean_field_is_its_kl():
    known, _, best = mean_field(n=200)
    gaps = inference_gaps(known.vae, known.x, seed=0)
    mean, error = over_data(gaps, "approximation_gap")
    assert abs(mean - best) < 4 * error
    assert error < 0.1 * best
    mean, error = over_data(gaps, "amortization_gap")
    assert abs(mean) < 4 * error + 0.01 * best


@pytest.mark.parametrize(("s", "shift"), [(1.5, 0.5), (0.6, 1.0), (1.0, -1.0)])
def test_the_amortization_gap_is_what_the_encoder_loses(s, shift):
    known, lost, best = mean_field(s, shift)
    gaps = inference_gaps(known.vae, known.x, seed=0)
    assert (gaps["amortization_gap"] > 4 * gaps["amortization_gap_mcse"]).all()
    mean, error = over_data(gaps, "amortization_gap")
    assert abs(mean - lost) < 4 * error + 0.01
    mean, error = over_data(gaps, "approximation_gap")
    assert abs(mean - best) < 4 * error + 0.01
    assert gaps["is_refined"].all()
    np.testing.assert_allclose(gaps["kl_gap"], gaps["amortization_gap"] + gaps["approximation_gap"], atol=1e-12)


def test_plain_distributions_are_refined_by_their_constraints():
    known, lost, best = mean_field(1.5, 0.5)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Independent(known.vae.posterior.given(x).base_dist, 1))

    plain = Program(known.vae.model, guide, known.vae.posterior)
    gaps = inference_gaps(plain, known.x, seed=0)
    mean, error = over_data(gaps, "amortization_gap")
    assert abs(mean - lost) < 4 * error + 0.01
    mean, error = over_data(gaps, "approximation_gap")
    assert abs(mean - best) < 4 * error + 0.01


def test_every_site_is_refined_each_datum_by_itself():
    case = two_sites(40)
    gaps = inference_gaps(*case.args, seed=0)
    assert (gaps["amortization_gap"] > -4 * gaps["amortization_gap_mcse"]).all()
    assert over_data(gaps, "amortization_gap")[0] > 0.1
    assert over_data(gaps, "approximation_gap")[0] < over_data(gaps, "amortization_gap")[0]
    assert (gaps["refined_pareto_k"] < gaps["pareto_k"]).mean() > 0.5


def test_the_data_plate_may_lie_among_others():
    def model(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("views", 2, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("views", 2, dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))

    x = torch.randn(30, 2).double()
    gaps = inference_gaps(Program(model, guide), x, seed=0, num_particles=16)
    lost = (0.5 * (2 * 1 + (x**2).sum(1) / 2) - math.log(2)).numpy()  # two KL of N(0, 1) from N(x / 2, 1 / 2)
    assert (abs(gaps["amortization_gap"] - lost) < 5 * gaps["amortization_gap_mcse"] + 0.02).all()
    assert (abs(gaps["approximation_gap"]) < 0.05).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_runs_on_every_kind_and_changes_nothing(case):
    case = case()
    inference_gaps(*case.args, mask=case.mask, **QUICK)  # a Program makes its parameters when first called
    before = {name: p.clone() for name, p in case.program.state_dict().items()}
    wanting = [p.requires_grad for p in case.program.parameters()]
    state = torch.get_rng_state()
    gaps = inference_gaps(*case.args, mask=case.mask, **QUICK | {"max_rows": 60})
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(p, before[name]) for name, p in case.program.state_dict().items())
    assert wanting == [p.requires_grad for p in case.program.parameters()]
    assert all(p.grad is None for p in case.program.parameters())
    for name in NATS:
        assert np.isfinite(gaps[name]).all()
        assert (gaps[f"{name}_mcse"] >= 0).all()
        assert gaps[name].attrs["units"] == "nats"
    assert (gaps["amortization_gap"] >= -4 * gaps["amortization_gap_mcse"]).all()
    assert (gaps["amortization_gap"].where(~gaps["is_refined"], 0) == 0).all()
    assert {"cannot_see", "seed", "data", "num_steps"} <= set(gaps.attrs)


def on_a_grid(case):
    """log p(x) and the ELBO of each datum, both integrals summed up."""
    with diagnosing(case.program, case.x, *case.context, mask=case.mask, seed=0) as (split, _):
        grid = Grid.over("test", case.program, split, 129, 10_000)
        ((_, joint),) = log_joints(case.program, split, 1)
        at = joint(grid.at(grid.points), guide=True)
        log_cell = grid.step.log().sum()
        q = (at.log_guide + log_cell).exp()
        elbo = torch.where(q > 0, q * at.log_weight, 0.0).sum(0)
        return (at.log_joint.logsumexp(0) + log_cell).numpy(), elbo.numpy()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_gaps_agree_with_the_grid(case):
    case = case()
    log_px, elbo = on_a_grid(case)
    gaps = inference_gaps(*case.args, mask=case.mask, **QUICK | {"num_samples": 2000, "num_steps": 100})
    good = gaps["refined_pareto_k"].where(gaps["log_px_by_refined"], gaps["pareto_k"]) < 0.5  # the weights' variance
    assert some(good)
    assert (abs(gaps["elbo"] - elbo) < 4.5 * gaps["elbo_mcse"]).all()
    assert (abs(gaps["log_px"] - log_px) < 4.5 * gaps["log_px_mcse"])[good].all()
    assert (abs(gaps["kl_gap"] - (log_px - elbo)) < 4.5 * gaps["kl_gap_mcse"])[good].all()
    assert (gaps["refined_elbo"] < log_px + 4.5 * gaps["refined_elbo_mcse"]).all()


def test_the_same_seed_gives_the_same_numbers():
    case = two_sites()
    first, second = (inference_gaps(*case.args, **QUICK) for _ in range(2))
    assert first.equals(second)


def test_log_densities_are_of_the_raw_data():
    known, *_ = mean_field(n=5)
    split = Split.of(known.x)
    scaled = replace(split, domain=Domain("real", span=2.0))
    bare, raw_units = (inference_gaps(known.vae, s, **QUICK) for s in (split, scaled))
    for name in ("elbo", "refined_elbo", "log_px"):
        np.testing.assert_allclose(raw_units[name], bare[name] - 5 * math.log(2))
    np.testing.assert_allclose(raw_units["kl_gap"], bare["kl_gap"])


def test_a_mode_that_q_never_visits_is_not_seen():
    x = torch.linspace(0.8, 1.2, 5).double()
    gaps = inference_gaps(two_modes(), x, seed=0)
    z = torch.linspace(-4, 4, 8001).double()[:, None]
    log_joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z**2, 0.1).log_prob(x)
    log_px = (log_joint.logsumexp(0) + math.log(8 / 8000)).numpy()
    assert (abs(gaps["log_px"] - log_px + math.log(2)) < 0.02).all()
    assert (gaps["kl_gap"] < 0.1).all()


@pytest.mark.parametrize(
    "fn",
    [
        dist.Normal(torch.zeros(3), 2.0),
        dist.Normal(torch.zeros(3, 2), 2.0).to_event(1),
        dist.Normal(0.0, 2.0).expand([3, 2]).to_event(1),
        dist.Normal(torch.zeros(3), 2.0).mask(torch.tensor([True, False, True])),
        dist.Independent(dist.Normal(torch.zeros(3, 2), 2.0).mask(torch.tensor([True, False])), 1),
        dist.torch_distribution.ExpandedDistribution(dist.Gamma(torch.tensor(2.0), 1.0), torch.Size([3])),
        dist.LogNormal(torch.zeros(3), 0.5),
        dist.Gamma(torch.full((3,), 2.0), 1.5),
        dist.Beta(torch.full((3,), 2.0), 1.5),
        dist.Dirichlet(torch.ones(3, 4)),
        dist.StudentT(torch.full((3,), 4.0), 0.0, 2.0),
        dist.MultivariateNormal(torch.zeros(3, 2), scale_tril=torch.tensor([[1.0, 0.0], [0.5, 0.7]])),
        dist.MultivariateNormal(torch.zeros(3, 2), covariance_matrix=torch.tensor([[1.0, 0.2], [0.2, 0.7]])),
    ],
    ids=lambda fn: repr(fn)[:40],
)
def test_a_family_begins_at_the_distribution_it_was_made_of(fn):
    family = family_of({"name": "z", "fn": fn, "infer": {}})
    same = family.member(*family.params)
    z = fn.sample()
    torch.testing.assert_close(same.log_prob(z), fn.log_prob(z))
    assert same.batch_shape == fn.batch_shape
    assert same.event_shape == fn.event_shape
    assert all(p.shape[: family.num_batch] == fn.batch_shape for p in family.params)
    free = [torch.zeros_like(p).requires_grad_() for p in family.params]
    value = family.member(*(p + f for p, f in zip(family.params, free, strict=True))).rsample()
    assert all(slope is not None for slope in torch.autograd.grad(value.sum(), free, allow_unused=True)[-1:])


def with_guide(fn):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", fn(x))

    return Program(model, guide)


def flowed(x):
    return dist.TransformedDistribution(dist.Normal(x, 1.0).to_event(1), [dist.transforms.AffineTransform(0.0, 2.0)])


def mixed(x):
    components = dist.Normal(torch.zeros(3, 2), 1.0).to_event(1)
    return dist.MixtureSameFamily(dist.Categorical(torch.ones(len(x), 3)), components)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (flowed, "made of its `arg_constraints`, got TransformedDistribution at 'z'"),
        (mixed, "gradient flows through, got MixtureSameFamily at 'z'"),
        (lambda x: dist.Uniform(x - 1, x + 1).to_event(1), "made of its `arg_constraints`, got Uniform at 'z'"),
        (lambda x: dist.Delta(x, event_dim=1), "point mass"),
    ],
)
def test_what_has_no_parameters_to_refine_is_refused(fn, message):
    with pytest.raises(ValueError, match=message):
        inference_gaps(with_guide(fn), torch.randn(4, 2), **QUICK)


def test_a_parametrization_of_ones_own_is_refined():
    def distribution(params):
        return dist.TransformedDistribution(
            dist.Normal(params, 1.0).to_event(1), [dist.transforms.AffineTransform(0.0, 0.5**0.5)]
        )

    program = with_guide(flowed)

    def guide(x):
        with pyro.plate("data", len(x)):
            params = torch.zeros(len(x), 2)
            pyro.sample("z", distribution(params), infer={"parametrization": (params, distribution)})

    x = torch.randn(20, 2)
    gaps = inference_gaps(Program(program.model, guide), x, seed=0, learning_rate=0.1)
    lost = (x**2).sum(1) / 4  # q of the posterior's width, at 0 instead of x / 2
    assert (abs(gaps["amortization_gap"] - lost.numpy()) < 5 * gaps["amortization_gap_mcse"] + 0.01).all()


def test_autoencoders_and_discrete_latents_are_refused():
    x = torch.rand(4, 1, 4, 4).round()
    q = partial(Point, (1, 4, 4), 2, SMALL)
    for prior in (StandardNormal(2), Flat(2)):
        with pytest.raises(ValueError, match="point mass"):
            inference_gaps(VAE(prior, Bernoulli(2, (1, 4, 4), SMALL), q()), x, **QUICK)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=x))

    with pytest.raises(ValueError, match="gradient flows through, got Bernoulli"):
        inference_gaps(Program(model, guide), torch.randn(4), **QUICK)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_samples": 24}, "num_samples of 25"),
        ({"num_steps": 0}, "num_steps"),
        ({"num_particles": 0}, "particles"),
        ({"max_rows": 0}, "max_rows to be a whole number from 1 on, got 0"),
    ],
)
def test_too_little_is_refused(changed, message):
    case = two_sites()
    with pytest.raises(ValueError, match=message):
        inference_gaps(*case.args, **QUICK | changed)


def test_bad_data_are_refused():
    case = two_sites()
    with pytest.raises(ValueError, match="at least one datum"):
        inference_gaps(case.program, case.x[:0], **QUICK)
    with pytest.raises(ValueError, match="finite"):
        inference_gaps(case.program, case.x * math.nan, **QUICK)
    with pytest.raises(TypeError, match="inference_gaps expects a module"):
        inference_gaps(object(), case.x, **QUICK)
    assert inference_gaps(case.program, case.x[:1], **QUICK).sizes["obs"] == 1
