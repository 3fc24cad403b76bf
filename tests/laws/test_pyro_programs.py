"""Programs written as Pyro's own examples are: plates without a size, objectives under `pyro.infer.SVI`."""

import re
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import nn

from ppl_vae import Program
from ppl_vae.diagnostics import (
    active_units,
    aggregated_posterior,
    check_guide,
    log_marginal_likelihood,
    to_arviz,
)
from ppl_vae.evaluation import evaluate
from ppl_vae.objectives import IWAE, Commitment, Contractive, FreeBits, InfoVAE
from ppl_vae.training import fit

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))


def test_functions_that_take_another_number_of_tensors_are_named():
    def model(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal((z + c).unsqueeze(-1) + 0 * x, 1.0).to_event(1), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1) - c, pyro.param("scale", torch.ones(()))))

    program, c = Program(model, guide), torch.zeros(40)
    said = r"expects data \(x, \*context\) for its functions, got {} tensors for guide\(x, c\); give a context where x"
    for number, call in ((1, lambda: evaluate(program, X, num_samples=2)), (1, lambda: fit(program, X, epochs=1))):
        with pytest.raises(TypeError, match=said.format(number)):
            call()
    with pytest.raises(TypeError, match=said.format(3)):
        evaluate(program, X, c, c, num_samples=2)
    assert evaluate(program, X, c, num_samples=2).per_datum["log_px"].notna().all()


class SSVAE(nn.Module):
    """Of the shape of Pyro's examples/vae/ss_vae_M2.py: `with pyro.plate("data")`, labels latent where not given."""

    def __init__(self, sized):
        super().__init__()
        torch.manual_seed(0)
        self.z_dim, self.output_size, self.sized = 2, 3, sized
        self.encoder_y = nn.Sequential(nn.Linear(6, 3), nn.Softmax(-1))
        self.encoder_z, self.decoder = nn.Linear(9, 4), nn.Linear(5, 6)

    def plate(self, xs):
        return pyro.plate("data", xs.size(0)) if self.sized else pyro.plate("data")

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        batch_size = xs.size(0)
        options = {"dtype": xs.dtype, "device": xs.device}
        with self.plate(xs):
            prior_loc = torch.zeros(batch_size, self.z_dim, **options)
            prior_scale = torch.ones(batch_size, self.z_dim, **options)
            zs = pyro.sample("z", dist.Normal(prior_loc, prior_scale).to_event(1))
            alpha_prior = torch.ones(batch_size, self.output_size, **options) / (1.0 * self.output_size)
            ys = pyro.sample("y", dist.OneHotCategorical(alpha_prior), obs=ys)
            lead = torch.broadcast_shapes(zs.shape[:-1], ys.shape[:-1])
            loc = self.decoder(torch.cat([zs.expand(*lead, -1), ys.expand(*lead, -1)], -1))
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=xs)

    def guide(self, xs, ys=None):
        with self.plate(xs):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(self.encoder_y(xs)))
            lead = torch.broadcast_shapes(xs.shape[:-1], ys.shape[:-1])
            loc, raw = self.encoder_z(torch.cat([xs.expand(*lead, -1), ys.expand(*lead, -1)], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 0.1).to_event(1))


@pytest.mark.parametrize("labelled", [False, True])
def test_an_unsized_plate_is_as_long_as_the_data_in_training(labelled):
    args = (X, torch.eye(3)[torch.arange(40) % 3]) if labelled else (X,)
    histories = []
    for sized in (False, True):
        own = SSVAE(sized)
        if labelled:
            own.encoder_y = nn.Identity()  # no gradient would reach it
        program = own if labelled else Program(own.model, config_enumerate(own.guide), own)
        objective = Trace_ELBO if labelled else TraceEnum_ELBO(max_plate_nesting=1)
        found = fit(program, args, validation=args, epochs=2, batch_size=16, objective=objective)
        histories.append(found.history.drop(columns="seconds"))
    assert histories[0].equals(histories[1])


class CVAE(nn.Module):
    """Of the shape of Pyro's examples/cvae: prior, posterior and likelihood given x, all in `pyro.plate("data")`."""

    def __init__(self, sized):
        super().__init__()
        torch.manual_seed(0)
        self.prior_net, self.recognition_net = nn.Linear(6, 4), nn.Linear(8, 4)
        self.generation_net, self.sized = nn.Linear(8, 2), sized

    def plate(self, xs):
        return pyro.plate("data", len(xs)) if self.sized else pyro.plate("data")

    def model(self, ys, xs):
        pyro.module("generation_net", self)
        with self.plate(xs):
            prior_loc, prior_scale = self.prior_net(xs).chunk(2, -1)
            zs = pyro.sample("z", dist.Normal(prior_loc, prior_scale.exp()).to_event(1))
            loc = self.generation_net(torch.cat([zs, xs.expand(*zs.shape[:-1], -1)], -1))
            pyro.sample("y", dist.Normal(loc, 1.0).to_event(1), obs=ys)

    def guide(self, ys, xs):
        with self.plate(xs):
            loc, scale = self.recognition_net(torch.cat([ys, xs], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def results(program):
    args, quiet = (X[:5, :2], X[:5]), {"seed": 0, "progress": False}
    yield evaluate(program, *args, num_samples=50, **quiet).per_datum
    tree = to_arviz(program, *args, num_samples=30, num_predictive=3, seed=0)
    yield {name: tree[name].to_dict() for name in ("posterior", "posterior_predictive", "prior")}
    yield active_units(program, *args, num_samples=30, **quiet)
    yield check_guide(program, *args, num_samples=200, **quiet)
    for method in ("prior", "quadrature"):
        options = {"num_samples": 50} if method == "prior" else {}
        yield log_marginal_likelihood(program, *args, method=method, **options, **quiet)
    yield aggregated_posterior(program, *args, num_samples=20, **quiet)


def test_an_unsized_plate_is_as_long_as_the_data_everywhere():
    for unsized, sized in zip(results(CVAE(False)), results(CVAE(True)), strict=True):
        assert re.sub(r"created_at.*", "", str(unsized)) == re.sub(r"created_at.*", "", str(sized))


def nothing_known(x):
    with pyro.plate("data"):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([len(x), 6]).to_event(1), obs=x)


def guided(x):
    with pyro.plate("data"):
        pyro.sample("z", dist.Normal(x[:, 0], 1.0))


def test_an_unsized_plate_whose_sites_do_not_tell():
    message = r"without a size.*got \{'z': \(\), 'x': \(3,\)\} in 'data'; give the plate its size: pyro.plate\('data'"
    with pytest.raises(ValueError, match=message):
        evaluate(Program(nothing_known, guided), X)


def one(fn, plate=None, scale=1.0, site="z", infer=None):
    """A guide of one latent site."""

    def guide(x):
        with plate(x) if plate else pyro.plate("data", len(x)) as rows, poutine.scale(scale=scale):
            pyro.sample(site, fn(x[rows]), infer=infer or {})

    return guide


def joint(fn, plate=None, scale=1.0):
    """A model of one latent site."""

    def model(x):
        with plate(x) if plate else pyro.plate("data", len(x)) as rows, poutine.scale(scale=scale):
            z = pyro.sample("z", fn(x[rows]))
            pyro.sample("x", dist.Normal(z.float(), 1.0), obs=x[rows, 0])

    return model


def normal(x):
    return dist.Normal(pyro.param("w", torch.ones(())) * x[:, 0] / 2, 1.0)


def prior(x):
    return dist.Normal(torch.zeros(len(x)), 1.0)


def subsampled(x):
    return pyro.plate("data", len(x), subsample=torch.arange(10))


WRONG = {
    "discrete": (lambda x: dist.Bernoulli(torch.full((len(x),), 0.5)),) * 2 + ({}, "reparametrized"),
    "enumerated": (
        lambda x: dist.Bernoulli(torch.full((len(x),), 0.5)),
        lambda x: dist.Bernoulli(torch.full((len(x),), 0.5)),
        {"infer": {"enumerate": "parallel"}},
        "TraceEnum_ELBO",
    ),
    "sites": (prior, normal, {"site": "other"}, "same sites|samples"),
    "subsampled": (prior, normal, {"plate": subsampled}, "unscaled sites|one plate over the 40 data"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("objective", [IWAE(3), FreeBits(0.1), InfoVAE(0.0), Contractive()], ids=type)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pyro's own
def test_objectives_refuse_under_svi_what_fit_refuses(objective, wrong):
    of_model, of_guide, more, message = WRONG[wrong]
    model = joint(of_model, more.get("plate"))
    svi = SVI(model, one(of_guide, **more), pyro.optim.Adam({"lr": 0.1}), loss=objective)
    with pyro.get_param_store().scope(), pytest.raises(ValueError, match=message):
        svi.step(X)


@pytest.mark.parametrize("scaled", ["model", "guide", "both"])
def test_iwae_refuses_scales_under_svi(scaled):
    scales = {name: 2.0 if scaled in (name, "both") else 1.0 for name in ("model", "guide")}
    svi = SVI(
        joint(prior, scale=scales["model"]),
        one(normal, scale=scales["guide"]),
        pyro.optim.Adam({"lr": 0.1}),
        loss=IWAE(3),
    )
    with pyro.get_param_store().scope(), pytest.raises(ValueError, match="IWAE expects unscaled sites"):
        svi.step(X)
    with pyro.get_param_store().scope():
        SVI(joint(prior), one(normal), pyro.optim.Adam({"lr": 0.1}), loss=IWAE(3)).step(X)


def test_commitment_refuses_under_svi_what_has_no_codes():
    svi = SVI(joint(prior), one(normal), pyro.optim.Adam({"lr": 0.1}), loss=Commitment())
    with pyro.get_param_store().scope(), pytest.raises(ValueError, match="expects a VectorQuantized posterior"):
        svi.step(X)


def test_each_step_is_checked_not_the_first_alone():
    scales = iter([1.0, 1.0, 2.0])

    def model(x):
        return joint(prior, scale=next(scales))(x)

    with pyro.get_param_store().scope():
        objective = IWAE(3)
        objective.max_plate_nesting = 2
        svi = SVI(model, one(normal), pyro.optim.Adam({"lr": 0.1}), loss=objective)
        svi.step(X)
        svi.step(X)
        with pytest.raises(ValueError, match="unscaled"):
            svi.step(X)


@pytest.mark.filterwarnings("ignore:Found plate statements in guide but not model")
@pytest.mark.parametrize("size", [57, 5000])
def test_a_plate_of_one_size_in_the_model_and_another_in_the_guide(size):
    """Pyro takes the guide's rows, and scales log p by the size over their number, log q by 1."""
    encoder, decoder = nn.Linear(6, 2), nn.Linear(2, 6)

    def program(of_model, of_guide):
        def model(x):
            with of_model(x):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

        def guide(x):
            with of_guide(x):
                pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

        return Program(model, guide, encoder, decoder)

    def per_datum(x):
        return pyro.plate("d", len(x))

    def subsampled(x):
        return pyro.plate("d", size, subsample=torch.arange(len(x)))

    for verb in (partial(fit, epochs=1, progress=False), partial(evaluate, num_samples=30, progress=False)):
        with pytest.raises(ValueError, match=rf"got {size} in the model and \d+ in the guide at 'd'.*len\(x\)"):
            verb(program(lambda x: pyro.plate("d", size), per_datum), X)
    fit(program(subsampled, subsampled), X, epochs=1, progress=False)

    def renamed(x):
        return pyro.plate("e", size, subsample=torch.arange(len(x)))

    for verb in (partial(fit, epochs=1, progress=False), partial(evaluate, num_samples=30, progress=False)):
        verb(program(subsampled, renamed), X)


@pytest.mark.parametrize("beside", ["vectorized", "in a loop"])
def test_a_plate_within_the_data_is_not_subsampled(beside):
    """Each draw would be scored by other units, so that log p(x) is none of x."""

    def units(x, **some):
        if beside == "vectorized":
            with pyro.plate("data", len(x), dim=-2), pyro.plate("units", 6, dim=-1, **some) as index:
                yield "", x[:, index]
        else:
            with pyro.plate("data", len(x)):
                for index in pyro.plate("units", 6, **some):
                    yield f"_{index}", x[:, int(index)]

    def program(**some):
        def model(x):
            for number, seen in units(x, **some):
                z = pyro.sample(f"z{number}", dist.Normal(torch.zeros(()), 1.0))
                pyro.sample(f"x{number}", dist.Normal(z, 1.0), obs=seen)

        def guide(x):
            weight = pyro.param("weight", torch.tensor(0.4))
            for number, seen in units(x, **some):
                pyro.sample(f"z{number}", dist.Normal(weight * seen, 0.5**0.5))

        return Program(model, guide)

    verbs = partial(fit, epochs=1, progress=False), partial(evaluate, num_samples=30, progress=False)
    for some in ({"subsample_size": 2}, {"subsample": torch.arange(2)}):
        for verb in verbs:
            with pytest.raises(ValueError, match=r"got 2 of 6 at 'units'.*leave out.*pyro.plate\('units', 6\)"):
                verb(program(**some), X)
    for verb in verbs:
        verb(program(subsample=torch.arange(6).flip(0)), X)
