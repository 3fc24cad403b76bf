"""What must hold for every prior, likelihood and posterior: `matrix` finds them."""

import copy
import inspect
import pickle
import re
from contextlib import ExitStack

import matrix
import pyro
import pytest
import torch
from matrix import (
    BATCH,
    CASES,
    COIN,
    LATENT,
    LIKELIHOODS,
    OBJECTIVES,
    ONE_LIKELIHOOD,
    POSTERIORS,
    PRIORS,
    X_SHAPE,
    Case,
    loss,
    make,
)
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer import RenyiELBO, Trace_ELBO
from scipy import special
from torch.testing import assert_close

from ppl_vae import likelihoods, objectives, priors, traces
from ppl_vae.likelihoods import Rowwise
from ppl_vae.objectives import (
    IWAE,
    STL,
    Commitment,
    Contractive,
    DReG,
    FreeBits,
    InfoVAE,
    TraceMeanField_ELBO,
    WakeSleep,
)

every_case = pytest.mark.parametrize("case", CASES, ids=str)
REAL = type(constraints.real)


@every_case
def test_shapes_under_plates(case):
    vae, args = make(case)
    for leading in [(), (3,), (2, 3)]:
        with ExitStack() as plates:
            for i, size in enumerate(reversed(leading)):
                plates.enter_context(pyro.plate(f"particles_{i}", size, dim=-2 - i))
            model, guide = traces.pair(vae, *args)
        for trace, sites in (model, "zx"), (guide, "z"):
            trace.compute_log_prob()
            assert [trace.nodes[s]["log_prob"].shape for s in sites] == [(*leading, BATCH)] * len(sites)
        assert guide.nodes["z"]["value"].shape == (*leading, BATCH, LATENT)
        assert model.nodes["x"]["fn"].shape() == (*leading, BATCH, *X_SHAPE)
        assert vae.decode(guide.nodes["z"]["value"], *args[1:]).mean.shape == (*leading, BATCH, *X_SHAPE)
    assert vae.encode(*args).shape() == (BATCH, LATENT)


@every_case
def test_gradient_reaches_every_parameter(case):
    unreached = None
    for seed in range(8):  # a small flow may start with units that no draw activates, a top-k leave one code at 0
        vae, args = make(case, seed=seed)
        trained = {n: p for n, p in vae.named_parameters() if p.requires_grad}
        gradients = dict(zip(trained, torch.autograd.grad(loss(vae, args), list(trained.values())), strict=True))
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        unreached = {n for n, gradient in gradients.items() if not gradient.any()} & (unreached or trained.keys())
        if not unreached:
            return
    raise AssertionError(f"no gradient reached {unreached}")


@every_case
def test_loss_is_affine_in_beta_and_meets_the_reconstruction(case):
    vae, args = make(case)
    half, one, two = (loss(vae, args, beta=beta) for beta in (0.5, 1.0, 2.0))
    assert_close(two - one, 2 * (one - half), rtol=0, atol=1e-10)
    torch.manual_seed(0)
    model, guide = traces.pair(vae, *args)
    assert_close(two - 2 * one, traces.total(model.nodes["x"]), rtol=0, atol=1e-10)
    assert_close(two - one, traces.total(guide.nodes["z"]) - traces.total(model.nodes["z"]), rtol=0, atol=1e-10)


@every_case
def test_copies_have_the_same_loss(case, tmp_path):
    vae, args = make(case)
    expected = loss(vae, args)
    other, _ = make(case, seed=1)
    assert loss(other, args) != expected
    torch.save(vae.state_dict(), tmp_path / "weights")
    other.load_state_dict(torch.load(tmp_path / "weights", weights_only=True))
    for copied in (other, copy.deepcopy(vae), pickle.loads(pickle.dumps(vae))):
        assert loss(copied, args) == expected
        before = [p.clone() for p in vae.parameters()]
        torch.nn.utils.vector_to_parameters(torch.full((10**5,), 0.1, dtype=torch.float64), copied.parameters())
        assert all(map(torch.equal, before, vae.parameters()))  # nothing is shared
        assert loss(copied, args) != expected  # nor left behind: the linked parts were copied together


@every_case
def test_data_do_not_see_each_other(case):
    vae, args = make(case)
    z = traces.pair(vae, *args)[1].nodes["z"]["value"]

    def per_datum(rows):
        given = [a[rows] for a in args]
        run = [poutine.condition(f, {"z": z[rows]}) for f in (vae.model, vae.guide)]
        model, guide = (poutine.trace(f).get_trace(*given) for f in run)
        where = traces.plates(model, len(given[0]))
        p, q = [traces.log_prob(model.nodes[s], where)[0] for s in "zx"], guide.nodes["z"]
        log_q = q["fn"].mean.sum(-1) if traces.singular(q) else traces.log_prob(q, where)[0]  # a code, rounded
        return torch.stack([*p, log_q])

    whole = per_datum(torch.arange(BATCH))
    assert whole.shape == (3, BATCH)
    for rows in torch.tensor([0, 1]), torch.tensor([3]), torch.randperm(BATCH):
        assert_close(per_datum(rows), whole[:, rows], rtol=0, atol=1e-10)


@every_case
def test_formula_and_samples(case):
    vae, (x, *context) = make(case)
    names = [leaf.func.__name__ for leaf in case[:3]]
    first, second, _ = repr(vae).split("\n", 2)
    c = ", c" if case.context else ""
    assert first.startswith(f"p(x, z{c.replace(', ', ' | ')}) = {names[0]}(z")
    assert ("(z | c" in first.partition(" = ")[2]) == bool(case.context and case.prior.func.uses_context)
    assert f" {names[1]}(x | z{c}" in first
    settings = vae.posterior.settings()
    assert second == f"q(z | x{c}) = {names[2]}" + (f"({settings})" if settings else "")
    assert vae.reconstruct(x, *context, seed=0).shape == x.shape
    few = [c[:4] for c in context]
    if case.prior.func is priors.Flat:
        with pytest.raises(ValueError, match=r"proper prior, got Flat.*build with StandardNormal"):
            vae.sample(4, *few)
        return
    drawn, mean = vae.sample(4, *few, seed=1), vae.sample(4, *few, seed=1, mean=True)
    assert drawn.shape == mean.shape == (4, *X_SHAPE)
    p = vae.decode(torch.zeros(4, LATENT).double(), *few)
    assert p.support.check(drawn).all()
    assert mean.isfinite().all()
    assert loss(vae, (drawn, *few)).isfinite()


def each_support(fn):
    """The support of each coordinate; of all together, where it is a set of vectors."""
    return getattr(fn.support, "base_constraint", fn.support)


@pytest.mark.parametrize("prior", PRIORS, ids=matrix.name)
@pytest.mark.parametrize("posterior", POSTERIORS, ids=matrix.name)
def test_refused_pairs(prior, posterior):
    """Pairs on two supports are refused; on one support, only those whose ELBO would be no number."""
    said = matrix.refusal(prior, posterior)
    of_codes = prior.func in (priors.CodePrior, priors.AutoregressiveCodePrior)
    if of_codes and not hasattr(posterior.func, "over_codes"):
        assert re.search(r"CodePrior expects a VectorQuantized posterior, got.*no codes; use", said)
        return
    if prior.func is priors.AutoregressiveCodePrior and "expects a posterior of 2 groups of codes" in said:
        return
    if prior.func is priors.Exemplar and "whose mean is known, got one without" in said:
        return
    vae, (x, *_) = make(Case(prior, COIN, posterior))
    q = {"fn": vae.encode(x)}
    if prior.func is priors.VampPrior and (traces.singular(q) or traces.quantized(q)):
        assert re.search(r"got point masses.*infinite density; use another.*CodePrior", said)
        return
    p = {"fn": vae.prior.given()}
    if traces.discrete(p) != traces.discrete(q):
        assert re.search(r"both masses or both densities, got a (mass and a density|density and a mass) at 'z'", said)
    elif traces.improper(p) and not traces.singular(q):
        assert re.search(r"improper prior of 'z' \(Flat\) expects a point mass.*use Point", said)
    elif all(isinstance(each_support(site["fn"]), REAL) for site in (p, q)):
        assert not said
    else:
        assert not said or "expects draws in the support of its prior" in said


OTHERS = [cls for cls in OBJECTIVES if cls not in (IWAE, STL, DReG, FreeBits, Contractive, InfoVAE, Commitment)]
"""Objectives of which `refusal` does not know what they refuse."""


def trains(objective, pair):
    """Whether an objective trains a pair of traces; if not, that it says so in a sentence."""
    try:
        objectives.check(objective, *pair)
    except ValueError as error:
        if "expects" not in str(error):
            raise
        return False
    return True


def refusal(objective, p, q):
    """What an objective says of a prior and a posterior that it refuses; `None` where it trains."""
    drawn = isinstance(objective, TraceMeanField_ELBO | RenyiELBO) or getattr(objective, "differentiates_draws", False)
    if drawn and not q["fn"].has_rsample:
        return "expects reparametrized draws"
    if isinstance(objective, IWAE | STL | DReG | WakeSleep | FreeBits | RenyiELBO):
        if traces.singular(q):
            return r"posterior with a density, got a point mass \(Point\)"
        return r"with a spread, got one code a datum \(VectorQuantized\)" if traces.quantized(q) else None
    if isinstance(objective, InfoVAE):
        if traces.singular(q) and objective.alpha != 1:
            return r"InfoVAE expects alpha=1 with a point mass \(Point\).*got alpha=0"
        return r"a prior to draw from, got an improper one \(Flat\)" if traces.improper(p) else None
    if isinstance(objective, Contractive):
        return r"codes that move with x, got discrete ones at \['z'\]" if traces.quantized(q) else None
    if isinstance(objective, Commitment):
        return None if traces.quantized(q) else r"Commitment expects a VectorQuantized posterior, got \["
    return None


SETTINGS = [
    Trace_ELBO(2),
    Trace_ELBO(2, vectorize_particles=True, max_plate_nesting=2),  # which it would guess by a draw in the first test
    TraceMeanField_ELBO(2),
    RenyiELBO(0, num_particles=2),
    IWAE(3),
    STL(2),
    DReG(3),
    WakeSleep(num_particles=2),
    FreeBits(),
    Contractive(num_particles=2),
    Contractive(num_projections=2),
    InfoVAE(num_particles=2),
    InfoVAE(alpha=0),
    Commitment(num_particles=2),
    *(cls() for cls in OTHERS),
]


@pytest.mark.parametrize(
    ("case", "objective"),
    matrix.with_objectives(SETTINGS),
    ids=lambda part: str(part) if isinstance(part, Case) else f"{type(part).__name__}-{part.vectorize_particles}",
)
@pytest.mark.filterwarnings("ignore:.*vectorize_particles")
def test_every_objective_trains_or_refuses(case, objective):
    vae, args = make(case)
    pair = traces.pair(vae, *args)
    traces.check_pair(*pair, BATCH)
    if type(objective) in OTHERS and not trains(objective, pair):
        return
    if message := refusal(objective, *(trace.nodes["z"] for trace in pair)):
        with pytest.raises(ValueError, match=message):
            objectives.check(objective, *pair)
        return
    vae.train()
    try:
        objectives.check(objective, *pair)
        value = objective.loss_and_grads(vae.model, vae.guide, *args)
    except ValueError as error:
        if "that can be differentiated twice" not in str(error):
            raise
        return
    assert abs(value) < 1e5
    kept = {p for p in vae.prior.parameters() if isinstance(objective, InfoVAE) and objective.alpha == 1}
    kept = set() if vae.posterior.sees_model else kept  # else q depends on the prior
    for name, parameter in vae.named_parameters():
        trained = parameter.requires_grad and parameter not in kept
        assert parameter.grad.isfinite().all() if trained else parameter.grad is None, name
    assert any(p.grad.any() for p in vae.posterior.parameters())


def cells(fn):
    """Points (points, 2, LATENT) in the support of a density, and the volume of the cell around each, (points, 2)."""
    support, steps = fn.support, (torch.arange(200).double() + 0.5) / 200
    # dense at 0 and 1, where a density may be infinite
    nodes, weights = steps**3 * (10 - 15 * steps + 6 * steps**2), 30 * (steps * (1 - steps)) ** 2 / 200
    if isinstance(support, type(constraints.sphere)):
        angles = 2 * torch.pi * steps
        return torch.stack([angles.cos(), angles.sin()], -1)[:, None], torch.tensor(2 * torch.pi / 200)
    if isinstance(support, type(constraints.simplex)):
        return torch.stack([nodes, 1 - nodes], -1)[:, None], weights[:, None]
    each = each_support(fn)
    if (getattr(each, "lower_bound", None), getattr(each, "upper_bound", None)) == (0, 1):
        points, volume = (torch.cartesian_prod(*[values] * LATENT)[:, None] for values in (nodes, weights))
        return points, volume.prod(-1)
    draws = fn.sample((2000,))
    low, high = (draws.mean(0) + sign * 9 * draws.std(0) for sign in (-1, 1))
    low, high = (
        low.clamp_min(getattr(each, "lower_bound", -torch.inf)),
        high.clamp_max(getattr(each, "upper_bound", torch.inf)),
    )
    return low + (high - low) * torch.cartesian_prod(*[steps] * LATENT)[:, None], ((high - low) / 200).prod(-1)


def is_first(case, part):
    """Whether no case before it has this prior, or this posterior, with or without a context."""
    same = (c for c in ONE_LIKELIHOOD if c[part] is case[part] and c.context == case.context)
    return case is next(same, case)  # whose parts may be those of a test's own


def densities_to_check(case):
    """Each posterior once, and each prior, or one for each posterior where it is made of that."""
    of_posterior = "posterior" in inspect.signature(case.prior.func).parameters
    return {"posterior": is_first(case, 2), "prior": of_posterior or is_first(case, 0)}


@pytest.mark.parametrize("case", [c for c in ONE_LIKELIHOOD if any(densities_to_check(c).values())], ids=str)
@torch.no_grad()
def test_latent_densities_integrate_to_one(case):
    vae, (x, *context) = make(case)
    few = [c[:2] for c in context]
    made = {"posterior": vae.encode(x[:2], *few), "prior": vae.prior.given(*few).expand([2])}
    checked = {name: fn for name, fn in made.items() if densities_to_check(case)[name]}
    for fn in (fn for fn in checked.values() if not any(f({"fn": fn}) for f in (traces.improper, traces.singular))):
        draws = fn.sample((2000,))  # (draws, 2, LATENT)
        assert fn.log_prob(draws).isfinite().all()
        if traces.discrete({"fn": fn}):
            for datum in range(2):  # each has draws of its own; a rare code may not be among 2,000
                mass = fn.log_prob(draws[:, datum].unique(dim=0)[:, None]).exp().sum(0)[datum]
                assert_close(mass, torch.ones(()).double(), rtol=0, atol=0.01)
            continue
        points, volume = cells(fn)
        density = torch.cat([fn.log_prob(z).exp() for z in points.split(5000)])  # all at once take longer
        assert_close((density * volume).sum(0), torch.ones(2).double(), rtol=0, atol=2e-3)


STEPS = torch.linspace(-30, 30, 40001).double()
NEAR_0 = STEPS - (-STEPS - 24).exp()  # down to -433: a density without bound has mass below exp(-30)
SLOPE = 1 + (-STEPS - 24).exp()
LINES = {  # numbers of a kind, and their derivative by the steps: the ends are reached at an exponential rate
    "real": (STEPS.sinh(), STEPS.cosh()),
    "positive": (NEAR_0.exp(), NEAR_0.exp() * SLOPE),
    "unit": (NEAR_0.sigmoid(), NEAR_0.sigmoid() * (-NEAR_0).sigmoid() * SLOPE),
}
STANDARD = next(c for c in ONE_LIKELIHOOD if c.prior.func is priors.StandardNormal)
ELEMENTWISE = [leaf for leaf in LIKELIHOODS if not issubclass(leaf.func, Rowwise)]


@pytest.mark.parametrize("leaf", ELEMENTWISE, ids=matrix.name)
def test_likelihoods_sum_or_integrate_to_one(leaf):
    vae, _ = make(STANDARD._replace(likelihood=leaf))
    likelihood = vae.likelihood
    fn = likelihood.given(torch.randn(3, LATENT).double()).base_dist  # of each element
    assert fn.shape() == (3, *X_SHAPE)
    assert fn.log_prob(fn.sample()).isfinite().all()
    assert fn.support.is_discrete == (likelihood.base_measure == "mass")
    kind = likelihood.kinds[0]
    grid = torch.arange({"binary": 2, "levels": matrix.LEVELS}.get(kind, 2000)).double()
    if likelihood.base_measure == "density":
        grid, slope = LINES[kind]
    density = fn.log_prob(grid.reshape(-1, *[1] * fn.mean.dim()).expand(-1, *fn.shape())).exp()
    if likelihood.base_measure == "mass":
        assert_close(density.sum(0), torch.ones_like(fn.mean), rtol=0, atol=1e-8)
        return
    mass = torch.trapezoid(density * slope.reshape(-1, *[1] * fn.mean.dim()), STEPS, dim=0)
    if leaf.func is likelihoods.Beta:  # mass nearer to 1 than the last point, whose distance from 1 is the slope there
        a, b = (v.detach().numpy() for v in (fn.base_dist.concentration1, fn.base_dist.concentration0))
        mass = mass + torch.from_numpy(special.betainc(b, a, slope[-1].item()))
    # the rule's error at the kink of a Laplace is (step / scale)^2 / 6
    assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-5 if leaf.func is likelihoods.Laplace else 1e-7)
