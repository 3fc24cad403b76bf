"""A training that trains, or says why not: parameters, batches of every kind, schedules and optimizers."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import JitTrace_ELBO, RenyiELBO, TraceEnum_ELBO, TraceGraph_ELBO
from torch import nn
from torch.optim import LBFGS, SGD, Adam, SparseAdam
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, OneCycleLR, ReduceLROnPlateau, SequentialLR
from torch.utils.data import DataLoader, TensorDataset

from ppl_vae import Program
from ppl_vae.objectives import (
    IWAE,
    Commitment,
    Constant,
    Contractive,
    Cyclical,
    FreeBits,
    InfoVAE,
    Linear,
    Trace_ELBO,
    TraceMeanField_ELBO,
)
from ppl_vae.training import OneCycle, fit

ADAM = partial(Adam, lr=1e-2)
STILL = partial(SGD, lr=1e-20)
X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))


class Unnamed(nn.Module):
    """A user's module that never names its networks to Pyro."""

    def __init__(self, hidden=None):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(3, 4), nn.Linear(2, 3)
        self.hidden = hidden or nn.Identity()

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            loc, raw = self.encoder(self.hidden(x)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 0.01).to_event(1))


def weights(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(module, before):
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


OBJECTIVES = [
    Trace_ELBO,
    TraceMeanField_ELBO,
    TraceGraph_ELBO,
    RenyiELBO(0, num_particles=2),
    IWAE(2),
    FreeBits(0.1),
    InfoVAE(0.5),
    Contractive(),
    pytest.param(JitTrace_ELBO, marks=pytest.mark.filterwarnings("ignore")),
]


@pytest.mark.parametrize("wrap", [False, True], ids=["module", "program"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: getattr(o, "__name__", type(o).__name__))
def test_what_a_program_owns_is_trained_whether_or_not_it_is_named(objective, wrap):
    own = Unnamed()
    program = Program(own.model, own.guide, own) if wrap else own
    before = weights(own)
    fit(program, X, epochs=1, batch_size=20, objective=objective, optimizer=ADAM)
    assert moved(own, before) == set(before)
    assert not list(pyro.get_param_store().keys())


@pytest.mark.filterwarnings("ignore")
def test_an_objective_traced_by_torch_jit_takes_a_last_smaller_batch():
    """A trace holds the sizes of its first batch."""
    history = fit(Unnamed(), X, epochs=60, batch_size=40, objective=JitTrace_ELBO, optimizer=STILL).history.train_elbo
    expected = fit(Unnamed(), X, epochs=60, batch_size=40, optimizer=STILL).history.train_elbo
    se = math.hypot(history.std(), expected.std()) / 60**0.5
    assert history.mean() == pytest.approx(expected.mean(), abs=5 * se)


def test_parameters_that_torch_jit_does_not_see_are_told():
    own = Unnamed()

    def model(x):
        pyro.module("decoder", own.decoder)
        return own.model(x)

    with pytest.raises(ValueError, match=r"JitTrace_ELBO expects .* not of pyro.param .* give Trace_ELBO"):
        fit(Program(model, own.guide, own), X, epochs=1, objective=JitTrace_ELBO)


def test_naming_changes_no_number():
    def named(f):
        def function(self, x):
            pyro.module("own", self)
            return f(self, x)

        return function

    class Named(Unnamed):
        model, guide = named(Unnamed.model), named(Unnamed.guide)

    histories = [fit(program, X, epochs=3, batch_size=20, optimizer=ADAM).history for program in (Unnamed(), Named())]
    assert histories[0].drop(columns="seconds").equals(histories[1].drop(columns="seconds"))


def test_a_parameter_that_no_gradient_reaches_is_named_once():
    program = Unnamed()
    program.spare = nn.Linear(2, 2)
    with pytest.warns(UserWarning, match=r"no gradient reached 2 of 6 parameters \(spare.weight, spare.bias\)") as said:
        fit(program, X, epochs=3, batch_size=20, optimizer=ADAM)
    assert len(said) == 1
    program.spare.requires_grad_(False)
    fit(program, X, epochs=1, optimizer=ADAM)


class Detached(Unnamed):
    def guide(self, x):
        with torch.no_grad():
            super().guide(x)

    def model(self, x):
        with torch.no_grad():
            super().model(x)


def test_no_gradient_at_all_is_an_error():
    with pytest.raises(
        ValueError, match=r"expects a gradient, got none for any of 4 parameters.*Program\(model, guide"
    ):
        fit(Detached(), X, epochs=1)


def test_networks_that_the_program_does_not_own():
    own = Unnamed()

    def model(x):
        own.model(x)

    def guide(x):
        own.guide(x)

    message = r"4 tensors that ask for a gradient and are not the program's own.*Program\(model, guide, \*modules\)"
    with pytest.warns(UserWarning, match=message), pytest.raises(ValueError, match=r"parameters to train, got none"):
        fit(Program(model, guide), X, epochs=1)
    before = weights(own)
    fit(Program(model, guide, own), X, epochs=1, optimizer=ADAM)
    assert moved(own, before) == set(before)


def test_gradients_left_from_before_are_not_stepped_along():
    histories = []
    for left in (None, 100.0):
        program = Unnamed()
        for p in program.parameters():
            p.grad = None if left is None else torch.full_like(p, left)
        histories.append(fit(program, X, epochs=1, optimizer=ADAM).history.drop(columns="seconds"))
    assert histories[0].equals(histories[1])


def lazy(x, y=None):
    with pyro.plate("data", len(x)):
        scale = pyro.param("scale" if y is None else "labelled", torch.ones(()), constraint=dist.constraints.positive)
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.unsqueeze(-1), scale).expand([len(x), 3]).to_event(1), obs=x)


def lazy_guide(x, y=None):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.mean(-1), 0.5))


def test_parameters_that_only_some_batches_make():
    batches = [X[:30], (X[30:], torch.ones(30))]
    program = Program(lazy, lazy_guide)
    fit(program, batches, epochs=1, optimizer=ADAM)
    assert all(p != 0 for p in program.parameters())
    assert len(list(program.parameters())) == 2

    class Unseen:  # of an iterable only the first batch is read
        def __iter__(self):
            return iter(batches)

    with pytest.raises(ValueError, match=r"got one of shape .* that came later.*call program\.guide"):
        fit(Program(lazy, lazy_guide), Unseen(), epochs=1, optimizer=ADAM)
    program = Program(lazy, lazy_guide)
    program.model(X, torch.ones(60))
    fit(program, Unseen(), epochs=1, optimizer=ADAM)
    assert all(p != 0 for p in program.parameters())


class Labelled(nn.Module):
    """y in {0, 1, 2}, x | y; y is observed in some batches and summed over in the others."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.to_x, self.to_y = nn.Linear(3, 3), nn.Linear(3, 3)

    def model(self, x, y=None):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(torch.ones(3) / 3), obs=y)
            pyro.sample("e", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(self.to_x(y), 1.0).to_event(1), obs=x)

    def guide(self, x, y=None):
        with pyro.plate("data", len(x)):
            if y is None:
                pyro.sample("y", dist.OneHotCategorical(logits=self.to_y(x)), infer={"enumerate": "parallel"})
            pyro.sample("e", dist.Normal(torch.zeros(len(x)), 1.0))


Y = torch.eye(3)[torch.arange(30) % 3]


@pytest.mark.parametrize("first", ["labelled", "unlabelled", "iterable"])
def test_whether_a_site_is_enumerated_is_asked_of_each_batch(first):
    known, unknown = [(X[:15], Y[:15]), (X[15:30], Y[15:])], [X[30:45], X[45:]]
    batches = unknown + known if first == "unlabelled" else known + unknown
    program = Labelled()
    objective = TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False)
    with torch.no_grad():
        exact = -sum(objective.loss(program.model, program.guide, *b) for b in ((X[:30], Y), (X[30:],))) / 60
    data = Iterated(batches) if first == "iterable" else batches
    history = fit(program, data, validation=data, epochs=1, objective=objective, optimizer=STILL).history
    assert history.train_elbo[1] == pytest.approx(exact, rel=1e-5)
    assert history.validation_elbo[1] == pytest.approx(exact, rel=1e-5)
    assert history.notna().all(axis=None)


class Scaled(Labelled):
    """The same with a scale of x, of both functions, of a plate that subsamples, and where some x are masked."""

    def __init__(self, scale=1.0, of_both=1.0, size=None, how="parallel"):
        super().__init__()
        self.scale, self.of_both, self.size, self.how = scale, of_both, size, how

    def plate(self, x):
        return pyro.plate("data", self.size or len(x), subsample=torch.arange(len(x)))

    def model(self, x, mask=True, beta=1.0):
        with self.plate(x), poutine.scale(scale=self.of_both):
            with poutine.scale(scale=beta):
                y = pyro.sample("y", dist.OneHotCategorical(torch.ones(3) / 3))
                e = pyro.sample("e", dist.Normal(0.0, 1.0))
            with poutine.scale(scale=self.scale), poutine.mask(mask=x[:, 0] > 0):
                pyro.sample("x", dist.Normal(self.to_x(y) + e[..., None], 1.0).to_event(1), obs=x)

    def guide(self, x, mask=True, beta=1.0):
        with self.plate(x), poutine.scale(scale=self.of_both * beta):
            pyro.sample("y", dist.OneHotCategorical(logits=self.to_y(x)), infer={"enumerate": self.how})
            pyro.sample("e", dist.Normal(x[:, 0] / 2, 0.5))


SCALES = [{"scale": 0.1}, {"of_both": 20.0}, {"of_both": torch.linspace(0.1, 3, 40)}, {"size": 1000}, {}]


@pytest.mark.parametrize("how", ["parallel", "sequential"])
@pytest.mark.parametrize("beta", [0.3, 1.0])
@pytest.mark.parametrize("scales", SCALES, ids=["of x", "of all", "weights", "subsampled", "none"])
def test_the_bound_of_an_enumerated_site_is_without_scales(scales, beta, how):
    def row(program, beta):
        parts = {"objective": TraceEnum_ELBO(2), "beta": beta, "optimizer": STILL, "batch_size": 40, "seed": 0}
        return fit(program, X[:40], validation=X[:40], epochs=1, **parts).history.iloc[0]

    found, expected = row(Scaled(**scales, how=how), beta), row(Scaled(how=how), 1.0)
    for part in ("train_elbo", "validation_elbo"):
        assert found[part] == pytest.approx(expected[part], rel=1e-5)


class Iterated:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


@pytest.mark.parametrize("data", [[(X[:30], Y), X[30:]], Iterated([(X[:30], Y), X[30:]])], ids=["list", "iterable"])
@pytest.mark.filterwarnings("ignore:y:UserWarning")  # Pyro's own, of the same
def test_an_objective_is_checked_on_every_kind_of_batch(data):
    program = Labelled()
    before = weights(program)
    with pytest.raises(ValueError, match="expects TraceEnum_ELBO, got Trace_ELBO"):
        fit(program, data, epochs=1, optimizer=ADAM)
    if isinstance(data, list):
        assert not moved(program, before)


def batch_norm():
    return Unnamed(hidden=nn.BatchNorm1d(3))


@pytest.mark.parametrize("wrong", ["batch norm", "none"])
def test_a_last_batch_of_one(wrong):
    program = batch_norm() if wrong == "batch norm" else Unnamed()
    sizes = []
    program.encoder.register_forward_pre_hook(lambda m, args: sizes.append(len(args[0])) if m.training else None)
    steps = []
    schedule = lambda o, n: steps.append(n) or LambdaLR(o, lambda t: 1.0)  # noqa: E731
    fit(program, X[:41], epochs=1, batch_size=20, optimizer=ADAM, schedule=schedule)
    assert sizes == ([2, 20, 21] if wrong == "batch norm" else [1, 20, 20, 1])  # the trial first
    assert steps == [2 if wrong == "batch norm" else 3]


def test_looking_at_one_datum_leaves_batch_statistics():
    program = batch_norm()
    before = {name: b.clone() for name, b in program.named_buffers()}
    with pytest.raises(KeyError, match="stop"):
        fit(program, X[:41], batch_size=20, optimizer=_stopping)
    assert all(torch.equal(b, before[name]) for name, b in program.named_buffers())
    assert program.training


def _stopping(parameters):
    raise KeyError("stop")


@pytest.mark.parametrize(
    "data",
    [
        X[:1],
        DataLoader(TensorDataset(X[:41]), 20),
        DataLoader(TensorDataset(X[:41]), 20, shuffle=True),
        [X[:20], X[20:21]],
    ],
    ids=["one datum", "loader", "shuffled", "list"],
)
def test_a_batch_of_one_that_cannot_be_joined_is_refused_before_the_first_step(data):
    program = batch_norm()
    before = weights(program)
    with pytest.raises(ValueError, match=r"got a batch of 1; give another batch_size, or drop_last=True"):
        fit(program, data, epochs=1, batch_size=20)
    assert not moved(program, before)
    fit(program, DataLoader(TensorDataset(X[:41]), 20, drop_last=True), epochs=1)


def test_a_batch_of_one_that_nobody_could_know_of():
    with pytest.raises(ValueError, match=r"got one datum in epoch 1, batch 2; give drop_last=True"):
        fit(batch_norm(), Iterated([X[:20], X[20:21]]), epochs=1)


def squeezing(x):
    with pyro.plate("data", len(x)):
        loc = x.squeeze()[:, 0] if len(x) == 1 else x[:, 0]
        pyro.sample("z", dist.Normal(pyro.param("w", torch.ones(())) * loc, 1.0))


def test_the_smallest_batch_is_tried_before_the_first_step():
    steps = []
    for data, validation in ((X[:41], None), (X[:40], [X[:20], X[:1]])):
        with pytest.raises(IndexError, match="too many indices"):
            fit(Program(lazy, squeezing), data, validation=validation, batch_size=20, callbacks=[steps.append])
    assert not steps


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_plateau_is_stepped_by_the_elbo_once_an_epoch(mode, tmp_path):
    def schedule(optimizer, num_steps):
        return ReduceLROnPlateau(optimizer, mode=mode, patience=1, factor=0.5, threshold=0.5)

    def run(epochs, **more):
        program = Unnamed()
        settings = {"batch_size": 20, "validation": X, "optimizer": ADAM, "schedule": schedule}
        return fit(program, X, epochs=epochs, **settings, **more).history.drop(columns="seconds"), program

    whole, program = run(8)
    assert whole.learning_rate.tolist() == [0.01] * 3 + [0.005] * 2 + [0.0025] * 2 + [0.00125]

    interrupting = [True]

    def stop(state):
        if state.epoch == 5 and interrupting:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(8, run=tmp_path, callbacks=[stop])
    interrupting.clear()
    again, resumed = run(8, run=tmp_path, resume=True, callbacks=[stop])
    assert again.equals(whole)
    assert all(torch.equal(a, b) for a, b in zip(program.parameters(), resumed.parameters(), strict=True))


def other(parameters):
    return Adam([*parameters, nn.Parameter(torch.zeros(1))])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"optimizer": LBFGS}, ValueError, r"got LBFGS, whose step runs the program again.*give optimizer=partial"),
        ({"optimizer": SparseAdam}, ValueError, "dense gradients, got SparseAdam"),
        ({"optimizer": lambda p: Adam(p[1:])}, ValueError, "got Adam without 'encoder.weight'; .*freeze"),
        ({"optimizer": other}, ValueError, "program's parameters alone, got Adam with others"),
        ({"optimizer": partial(Adam, lr=-1)}, ValueError, "Invalid learning rate: -1; give optimizer=partial"),
        ({"optimizer": partial(Adam, lr=0.0)}, ValueError, "positive learning rate, got lr=0"),
        ({"optimizer": partial(Adam, lr=math.inf)}, ValueError, "positive learning rate, got lr=inf"),
        ({"optimizer": pyro.optim.Adam}, (TypeError, ValueError), "fit expects optimizer="),
        ({"optimizer": lambda p: None}, TypeError, "torch.optim.Optimizer, got NoneType"),
        ({"schedule": lambda o: 3}, ValueError, "one of an optimizer and the number of steps, got: .*; give schedule="),
        ({"schedule": lambda o, n: 3}, TypeError, "lr_scheduler of the optimizer it is given, got int"),
        ({"schedule": lambda o, n: LambdaLR(SGD(o.param_groups[0]["params"], 1.0), lambda t: 1.0)}, TypeError, "given"),
    ],
)
def test_optimizers_and_schedules_that_cannot_be_stepped(settings, error, message):
    program = Unnamed()
    before = weights(program)
    with pytest.raises(error, match=message):
        fit(program, X, epochs=1, **settings)
    assert not moved(program, before)


def test_a_schedule_that_ends_within_the_training_is_told():
    def short(optimizer, num_steps):
        return SequentialLR(optimizer, [ConstantLR(optimizer), OneCycleLR(optimizer, 1e-2, total_steps=3)], [2])

    with pytest.raises(
        ValueError, match=r"as long as the training, got one that has ended .*, SequentialLR; make it of"
    ):
        fit(Unnamed(), X, epochs=9, schedule=short)
    shorter = partial(OneCycleLR, max_lr=1.0, total_steps=8)
    with pytest.raises(ValueError, match=r"Tried to step 9 times\. .*, OneCycleLR; make it of the number of steps"):
        fit(Unnamed(), X, epochs=9, batch_size=10, schedule=lambda o, n: shorter(o))
    fit(Unnamed(), X, epochs=9, batch_size=10, schedule=lambda o, n: shorter(o), callbacks=[lambda state: True])


def test_a_schedule_without_an_end_of_its_own_goes_on():
    class Own(LambdaLR):
        total_steps = None

    fit(Unnamed(), X, epochs=2, schedule=lambda o, n: Own(o, lambda step: 1.0))
    with pytest.raises(ValueError, match="could not convert"):
        fit(Unnamed(), X, epochs=9, schedule=lambda o, n: LambdaLR(o, lambda step: float("x") if step > 1 else 1.0))


def test_an_optimizer_with_groups_in_another_order_resumes(tmp_path):
    def groups(parameters):
        return Adam([{"params": parameters[2:], "lr": 1e-2}, {"params": parameters[:2]}], lr=1e-3)

    whole = Unnamed()
    fit(whole, X, epochs=4, optimizer=groups)
    fit(Unnamed(), X, epochs=2, optimizer=groups, run=tmp_path)
    resumed = Unnamed()
    fit(resumed, X, epochs=4, optimizer=groups, run=tmp_path, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("wrong", [-1, 0, math.nan, math.inf, True, "1", 1 + 1j])
@pytest.mark.parametrize(
    ("make", "also"),
    [
        (lambda v: OneCycle(v), ()),
        (lambda v: OneCycle(rise=v), (1, 1.5)),
        (lambda v: Linear(v), ()),
        (lambda v: Constant(v), ()),
        (lambda v: Cyclical(v), ()),
        (lambda v: Cyclical(cycles=v), (1.5,)),
        (lambda v: Cyclical(ramp=v), (1.01,)),
        (lambda v: IWAE(v), (1.5,)),
        (lambda v: FreeBits(num_particles=v), (2.5,)),
        (lambda v: InfoVAE(num_particles=v), (2.5,)),
        (lambda v: Contractive(num_projections=v), (1.5,)),
    ],
    ids=["peak", "rise", "Linear", "Constant", "epochs", "cycles", "ramp", "IWAE", "FreeBits", "InfoVAE", "norms"],
)
def test_numbers_out_of_range(make, also, wrong):
    for value in (wrong, *also):
        with pytest.raises((ValueError, TypeError), match=r"expects .*, got .*; "):
            make(value)


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, True, "1"])
@pytest.mark.parametrize("make", [FreeBits, Commitment, Contractive, lambda v: InfoVAE(weight=v)])
def test_weights_out_of_range(make, wrong):
    with pytest.raises((ValueError, TypeError), match=r"expects .*, got .*; "):
        make(wrong)
    make(0)
    with pytest.raises((ValueError, TypeError), match=r"expects alpha .*got"):
        InfoVAE(alpha=math.nan if isinstance(wrong, str) else -math.inf)
