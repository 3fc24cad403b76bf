"""The VAE and the Program as objects: built, extended, isolated, and as Pyro programs beside others."""

import copy
import json
import math
import pickle
import random
import warnings
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from matrix import CASES, SMALL, described, loss, make
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceEnum_ELBO
from torch.testing import assert_close

from ppl_vae import (
    MLP,
    VAE,
    Bernoulli,
    ConvDecoder,
    ConvEncoder,
    DataSpec,
    Domain,
    Flat,
    Gaussian,
    Likelihood,
    Point,
    Posterior,
    Prior,
    Program,
    StandardNormal,
    VampPrior,
    build,
    traces,
)
from ppl_vae.isolation import evaluating, isolated
from ppl_vae.split import Split
from ppl_vae.vae.build import rebuild

X = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()


class Cauchy(Prior):
    def __init__(self, latent_dim, site="z"):
        super().__init__(site)
        self.scale = torch.nn.Parameter(torch.ones(latent_dim))

    def given(self, *context):
        return dist.Cauchy(torch.zeros_like(self.scale), self.scale.exp()).to_event(1)


class Exponential(Likelihood):
    kinds = ("unit",)
    base_measure = "density"

    def elementwise(self, *params):
        return dist.Exponential(params[0].exp())


class OneHot(Posterior):
    infer = {"enumerate": "parallel"}  # noqa: RUF012

    def distribution(self, params):
        return dist.OneHotCategorical(logits=params[..., 0, :])


class EqualWeights(Prior):
    def __init__(self, latent_dim):
        super().__init__()
        self.register_buffer("logits", torch.zeros(latent_dim))

    def given(self, *context):
        return dist.OneHotCategorical(logits=self.logits)


class Mixed(torch.nn.Dropout):
    """A network that is in need of eval mode."""

    def __init__(self, in_shape, out_shape):
        super().__init__(0.5)
        self.norm = torch.nn.BatchNorm1d(16)
        self.head = MLP((16,), out_shape)

    def forward(self, x):
        return self.head(super().forward(self.norm(x.flatten(1))))


def vae_of(**parts):
    return build(described(parts.pop("kind", "binary"), parts.pop("context", False)), latent_dim=2, **parts)


def test_parts_of_ones_own():
    vae = vae_of(
        kind="unit",
        prior=Cauchy,
        likelihood=Exponential,
        encoder=lambda i, o: MLP(i, o, hidden_dims=[8], activation="tanh"),
    )
    assert repr(vae).startswith("p(x, z) = Cauchy(z) Exponential(x | z)\nq(z | x) = DiagonalNormal\n")
    Trace_ELBO().loss_and_grads(vae.model, vae.guide, X)
    assert all(p.grad.any() for p in vae.parameters())
    assert vae.sample(3, seed=0).shape == (3, 1, 4, 4)
    assert vae.recipe is None  # of a lambda
    own = vae_of(kind="unit", prior=Cauchy, likelihood=Exponential)
    again = rebuild(json.loads(json.dumps(own.recipe)), classes=[Cauchy, Exponential])
    again.load_state_dict(own.state_dict())
    assert loss(again, [X]) == loss(own, [X])
    with pytest.raises(ValueError, match=r"classes of ppl_vae or those in classes=, got 'Cauchy'.*classes=\[Cauchy\]"):
        rebuild(own.recipe)


@pytest.mark.parametrize("case", CASES[::7], ids=str)
def test_every_recipe_rebuilds(case):
    vae, args = make(case)
    again = rebuild(json.loads(json.dumps(vae.recipe)), classes=[SMALL["flow"].func]).double().eval()
    again.load_state_dict(vae.state_dict())
    assert loss(again, args) == loss(vae, args)
    assert repr(again) == repr(vae)


def test_build():
    conv = vae_of(encoder=ConvEncoder, decoder=partial(ConvDecoder, channels=(4,)), context=True)
    assert conv.sample(2, torch.randn(2, 3), seed=0).shape == (2, 1, 4, 4)
    pseudo = DataSpec(X.shape[1:], Domain("binary"), train=Split.of(X))
    vamp = build(pseudo, latent_dim=2, prior=partial(VampPrior, num_components=7))
    assert vamp.prior.pseudo_inputs[:5].equal(X)
    assert vamp.prior.pseudo_inputs.shape == (7, 1, 4, 4)
    assert set(vamp.prior.state_dict()) == {"pseudo_inputs", "logits"}  # the posterior is borrowed, not owned
    assert [type(vae_of(kind=k).likelihood).__name__ for k in ("binary", "unit", "real", "levels", "counts")] == [
        *("Bernoulli", "ContinuousBernoulli", "Gaussian", "DiscretizedLogistic", "NegativeBinomial"),
    ]
    assert vae_of(kind="levels").likelihood.levels == 5
    with pytest.raises(ValueError, match=r"Bernoulli expects data of kind 'binary', got 'unit'.*or choose ContinuousB"):
        vae_of(kind="unit", likelihood=Bernoulli)
    for wrong in (0, -1.0, "wide"):
        with pytest.raises(
            ValueError,
            match="Gaussian expects scale to be a number above 0 or 'learned'",
        ):
            Gaussian(2, (3,), scale=wrong)


def test_missing_elements_do_not_count():
    vae, mask = vae_of(), torch.rand(5, 1, 4, 4) < 0.7
    fouled = torch.where(mask, X, torch.tensor(float("nan")))
    assert loss(vae, [fouled], mask=mask) == loss(vae, [X * mask], mask=mask)
    model, guide = traces.pair(vae, fouled, mask=mask)
    traces.check_pair(model, guide, 5)
    elements = dist.Bernoulli(logits=vae.likelihood.net(guide.nodes["z"]["value"])[:, 0]).log_prob(X) * mask
    assert_close(traces.log_prob(model.nodes["x"], traces.plates(model, 5))[0], elements.sum((1, 2, 3)))
    assert loss(vae, [X], mask=torch.ones_like(mask)) == loss(vae, [X])
    assert_close(vae.encode(fouled, mask=mask).mean, vae.encode(X * mask).mean)
    assert vae.reconstruct(fouled, mask=mask, seed=0).isfinite().all()


def test_predictive_is_the_models():
    vae = vae_of()
    drawn = Predictive(pyro.poutine.uncondition(vae.model), guide=vae.guide, num_samples=7, parallel=True)(X)
    assert drawn["x"].shape == (7, 5, 1, 4, 4)


def world(module):
    store = pyro.get_param_store()
    return (
        [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()],
        [torch.get_default_dtype(), torch.is_grad_enabled(), pyro.distributions.is_validation_enabled()],
        {name: id(store[name]) for name in store},
        {name: child.training for name, child in module.named_modules()},
        {name: tensor.tolist() for name, tensor in module.state_dict().items()},
    )


CALLS = {
    "sample": lambda vae, seed: vae.sample(3, seed=seed),
    "sample the mean": lambda vae, seed: vae.sample(3, seed=seed, mean=True),
    "reconstruct": lambda vae, seed: vae.reconstruct(X, seed=seed),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("seed", [None, 3])
def test_public_calls_change_nothing(call, seed):
    vae = vae_of(encoder=Mixed)
    vae.guide(X)
    vae.likelihood.eval()
    pyro.param("another's", torch.ones(2))
    before = world(vae)
    first = call(vae, seed)
    assert not first.requires_grad
    assert world(vae) == before
    torch.manual_seed(99)
    assert call(vae, seed).equal(first) == (seed is not None)  # by its seed alone
    assert not call(vae, 4).equal(first)


def test_isolation_survives_errors():
    vae = vae_of(encoder=Mixed)
    before = world(vae)

    def fail(scope):
        with scope(vae, 1):
            vae.eval()
            pyro.param("mine", torch.ones(1))
            torch.rand(1), np.random.rand(), random.random()
            raise KeyError

    for scope in isolated, evaluating:
        with pytest.raises(KeyError):
            fail(scope)
        assert world(vae) == before
    with isolated(vae, 5) as seed:
        first = torch.rand(1), np.random.rand(), random.random()
    with isolated(vae, 5):
        assert first == (torch.rand(1), np.random.rand(), random.random())
    assert seed == 5
    if torch.cuda.is_available():
        state = torch.cuda.get_rng_state()
        vae.sample(2, seed=0)
        assert torch.cuda.get_rng_state().equal(state)


def step(vae, steps=3):
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    return [svi.step(X) for _ in range(steps)]


def test_a_second_vae_is_refused_and_not_left_untrained():
    first, second = vae_of(), vae_of()
    step(first)
    for f in second.model, second.guide, copy.deepcopy(first).guide:
        with pytest.raises(RuntimeError, match=r"another model's; train with ppl_vae.fit, or inside.*scope\(\)"):
            f(X)
    second.sample(2), second.reconstruct(X), second.encode(X)  # these need no store
    before = [p.clone() for p in second.parameters()]
    with pyro.get_param_store().scope():
        step(second)
    assert all((a != b).any() for a, b in zip(before, second.parameters(), strict=True))
    step(first)
    assert loss(pickle.loads(pickle.dumps(first)), [X]) == loss(first, [X])  # while the store holds its parameters
    step(first)


def test_parameters_that_are_not_contiguous_are_named():
    vae = build(DataSpec((2, 8, 8), Domain("binary")), latent_dim=2, encoder=ConvEncoder, decoder=ConvDecoder)
    x = torch.ones(2, 2, 8, 8)
    refused = pytest.raises(RuntimeError, match=r"contiguous in memory, got .*convolutions.* with strides .*_format")
    with pyro.get_param_store().scope(), refused:
        vae.to(memory_format=torch.channels_last).guide(x)
    with pyro.get_param_store().scope():
        vae.to(memory_format=torch.contiguous_format).guide(x)


def test_frozen_parameters_stay_and_do_not_warn():
    vae = vae_of()
    vae.likelihood.requires_grad_(False)
    frozen = [p.clone() for p in vae.likelihood.parameters()]
    moving = [p.clone() for p in vae.posterior.parameters()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(vae)
    assert all(map(torch.equal, frozen, vae.likelihood.parameters()))
    assert not any(map(torch.equal, moving, vae.posterior.parameters()))


def test_a_discrete_latent_is_summed_out():
    vae = vae_of(prior=EqualWeights, posterior=OneHot)
    q = vae.encode(X).probs
    log_p = torch.stack([vae.decode(z.expand(5, 2)).log_prob(X) for z in torch.eye(2)], -1) - math.log(2)
    assert_close(loss(vae, [X], TraceEnum_ELBO(max_plate_nesting=1)), -(q * (log_p - q.log())).sum())
    assert vae.sample(3, seed=0).shape == (3, 1, 4, 4)


def test_an_autoencoder():
    vae = vae_of(prior=Flat, posterior=Point)
    expected = -vae.decode(vae.encode(X).mean).log_prob(X).sum()
    assert_close(loss(vae, [X]), expected)
    assert vae.reconstruct(X, seed=0).equal(vae.reconstruct(X, seed=1))


def normal_model(x):
    loc = pyro.param("model.loc", torch.zeros(()))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(loc, 1.0)), 1.0), obs=x)


def normal_guide(x):
    scale = pyro.param("scale", lambda: torch.tensor(2.0), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, scale))


def test_programs_keep_their_own_parameters():
    x = torch.randn(6)
    programs = [Program(normal_model, normal_guide) for _ in range(2)]
    for program in programs:
        assert loss(program, [x]).isfinite()
        assert_close(pyro.poutine.trace(program.guide).get_trace(x).nodes["scale"]["value"], torch.tensor(2.0))
    assert len(pyro.get_param_store()) == 0
    values = [[p.clone() for p in program.parameters()] for program in programs]
    svi = SVI(programs[0].model, programs[0].guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(5):
        svi.step(x)
    moved, still = (
        [p != v for p, v in zip(q.parameters(), w, strict=True)] for q, w in zip(programs, values, strict=True)
    )
    assert all(moved)
    assert not any(still)
    assert loss(programs[0], [x]) != loss(programs[1], [x])
    first = loss(programs[0], [x])
    loss(programs[1], [x])
    assert loss(programs[0], [x]) == first
    for copied in copy.deepcopy(programs[0]), pickle.loads(pickle.dumps(programs[0])):
        assert loss(copied, [x]) == first
    programs[1].load_state_dict(programs[0].state_dict())
    assert loss(programs[1], [x]) == first
    assert sorted(n for n, _ in programs[0].named_parameters()) == ["params.pyro:model%2Eloc", "params.pyro:scale"]


def test_program_scales_latents_and_finds_networks():
    vae = vae_of()
    program = Program(vae.model, vae.guide)
    assert loss(program, [X]) == loss(vae, [X])
    assert_close(loss(program, [X], beta=0.5), loss(vae, [X], beta=0.5))
    mask = X < 2
    assert loss(program, [X], mask=mask) == loss(vae, [X])
    assert set(map(id, vae.parameters())) <= set(map(id, program.parameters()))
    program.eval()
    assert not vae.training

    def model(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", StandardNormal(2).given())
            pyro.sample("x", dist.Normal(net(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    net = torch.nn.Linear(2, 2)
    program, x = Program(model, guide, net), torch.randn(4, 2)
    before = net.weight.clone()
    SVI(program.model, program.guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO()).step(x)
    assert (net.weight != before).all()
    assert {id(p) for p in program.parameters()} == {id(p) for p in net.parameters()}


def test_formula_of_a_vae_put_together_by_hand():
    vae = VAE(StandardNormal(2), Bernoulli(2, (1, 4, 4)), Point((1, 4, 4), 2))
    assert repr(vae).startswith("p(x, z) = StandardNormal(z) Bernoulli(x | z)\nq(z | x) = Point\nVAE(")
