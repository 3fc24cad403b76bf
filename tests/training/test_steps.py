"""Steps without validation, and steps replayed as a graph: the same numbers, and every protection."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import MLP, FlowPrior, NegativeBinomial, VampPrior, build, fit, load
from ppl_vae.corruptions import Masking
from ppl_vae.data import from_arrays
from ppl_vae.domain import Domain
from ppl_vae.objectives import IWAE, FreeBits, InfoVAE, Linear, Trace_ELBO, TraceMeanField_ELBO
from ppl_vae.priors import ConditionalNormal
from ppl_vae.split import Split
from ppl_vae.training import loop, steps
from ppl_vae.training.optim import OneCycle

EPOCHS, NEVER = 4, 10**9
ADAM = partial(torch.optim.Adam, lr=1e-3, fused=True)


def binary(n=90, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 6, generator=generator) < 0.4).float()


@pytest.fixture
def replaying(monkeypatch):
    """Switch replaying on or off; the steps of the trainings since."""
    made = []

    class Recorded(steps.Steps):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(loop, "Steps", Recorded)

    def switch(on):
        monkeypatch.setattr(steps, "MANY", 4 if on else NEVER)
        return made

    return switch


class Normalized(nn.Module):
    """A network with batch statistics and dropout."""

    def __init__(self, in_shape, out_shape):
        super().__init__()
        size = math.prod(out_shape)
        self.net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Linear(5, size))
        self.out_shape = out_shape

    def forward(self, x):
        return self.net(x).unflatten(-1, self.out_shape)


def masked():
    mask = torch.rand(90, 6, generator=torch.Generator().manual_seed(1)) < 0.8
    return Split(binary(), torch.arange(90), mask=mask)


def conditional():
    context = torch.randn(90, 2, generator=torch.Generator().manual_seed(2))
    return from_arrays(binary(), context=context, domain=Domain("binary"))


def counts():
    generator = torch.Generator().manual_seed(3)
    exposure = torch.rand(90, 1, generator=generator) + 0.5
    x = torch.poisson(5 * exposure.expand(90, 6), generator=generator)
    return from_arrays(x, context=exposure, domain=Domain("counts"), standardize_context=False)


CASES = {
    "last smaller batch": ({}, {"batch_size": 25}),
    "clipped": ({}, {"clip_norm": 5.0, "objective": TraceMeanField_ELBO}),
    "particles": ({}, {"objective": Trace_ELBO(num_particles=2)}),
    "IWAE": ({}, {"objective": IWAE(3)}),
    "free bits and warm-up": ({}, {"objective": FreeBits(0.4), "beta": Linear(3)}),
    "VampPrior at beta 2": ({"prior": partial(VampPrior, num_components=3)}, {"beta": 2.0}),
    "FlowPrior and a schedule": ({"prior": FlowPrior}, {"schedule": OneCycle(1e-2)}),
    "corruption and SGD": (
        {"corruption": partial(Masking, rate=0.3)},
        {"optimizer": partial(torch.optim.SGD, lr=1e-3, momentum=0.9)},
    ),
    "batch norm and dropout": ({"encoder": Normalized}, {}),
    "mask": ({}, {"data": masked()}),
    "context": ({"like": conditional(), "prior": ConditionalNormal}, {"data": conditional()}),
    "hierarchy": ({"latent_dim": [2, 3]}, {}),
    "InfoVAE": ({}, {"objective": InfoVAE(0.5, 3.0)}),
    "counts with an exposure": (
        {"like": counts(), "likelihood": partial(NegativeBinomial, exposure="context")},
        {"data": counts()},
    ),
}


def trained(case, **more):
    settings, call = CASES[case]
    vae = built(settings)
    call = {"data": binary(), "epochs": EPOCHS, "batch_size": 18, "optimizer": ADAM, "progress": False, **call, **more}
    result = fit(vae, call.pop("data"), **call)
    return vae, result.history.drop(columns="seconds")


def built(settings):
    small = partial(MLP, hidden_dims=[5])
    settings = {"latent_dim": 2, "encoder": small, "decoder": small, **settings}
    return build(settings.pop("like", None) or from_arrays(binary(), domain=Domain("binary")), seed=0, **settings)


def equal(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_are_the_eager_ones_to_the_bit(case, replaying):
    made = replaying(False)
    plain, history = trained(case)
    replaying(True)
    vae, found = trained(case)
    assert made[0].replays == 0
    assert made[1].reason is None
    assert made[1].replays > 3
    assert found.equals(history)
    assert equal(plain, vae)


def test_a_training_resumed_with_replay_is_the_one_without(tmp_path, replaying):
    made = replaying(False)
    plain, history = trained("batch norm and dropout")
    replaying(True)
    trained("batch norm and dropout", run=tmp_path / "run", epochs=2)
    _, found = trained("batch norm and dropout", run=tmp_path / "run", resume=True)
    assert made[-1].replays
    assert found.equals(history)
    assert equal(plain, load(tmp_path / "run", classes=[Normalized]).vae)


def test_what_callbacks_change_is_seen_at_the_next_epoch(replaying):
    def noisier(state):
        state.program.corruption.rate = 0.1 * (1 + state.epoch)

    histories = []
    for on in (False, True):
        made = replaying(on)
        vae, history = trained("corruption and SGD", epochs=6, callbacks=[noisier])
        histories.append((vae, history))
    assert "depends on more than its arguments" in made[-1].reason
    assert histories[0][1].equals(histories[1][1])
    assert equal(histories[0][0], histories[1][0])


class Branching(nn.Module):
    """A program with a network whose scale depends on what `scale` says of x."""

    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.scale, self.calls = nn.Linear(6, 2), scale, 0

    def model(self, x):
        self.calls += 1
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample(
                "x", dist.Normal(z.sum(-1, keepdim=True), self.scale(self, x)).expand([len(x), 6]).to_event(1), obs=x
            )

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.net(x), 1.0).to_event(1))


@pytest.mark.parametrize(
    ("scale", "reason"),
    [
        (lambda own, x: 1.0 if x.sum() > 40 else 2.0, "control flow or its shapes depend on values"),
        (lambda own, x: 1.0 + 1 / own.calls, "depends on more than its arguments"),
        (lambda own, x: float(x.numpy().mean()) + 1, "arrays of NumPy"),
    ],
    ids=["branch", "counter", "numpy"],
)
def test_a_program_that_cannot_be_replayed_is_called(scale, reason, replaying):
    made = replaying(True)
    fit(Branching(scale), binary(), epochs=EPOCHS, batch_size=18, optimizer=ADAM, progress=False)
    assert made[0].replays == 0
    assert reason in made[0].reason


def batches_with(bad, number=7):
    """Batches of which one is bad, long after the first."""
    good = list(binary().split(9))
    good[number] = bad(good[number].clone())
    return good


def half(x):
    x[0, 0] = 0.5
    return x


@pytest.mark.parametrize("on", [False, True])
def test_data_outside_their_support_are_refused_in_any_batch(on, replaying):
    made = replaying(on)
    vae = built({})
    good = list(binary().split(9))

    class Late:
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter(batches_with(half) if self.passes > 4 else good)

        def __len__(self):
            return len(good)

    with pytest.raises(ValueError, match=r"Bernoulli expects x in \{0, 1\}.*seen in epoch \d, batch 8"):
        fit(vae, Late(), epochs=8, optimizer=ADAM, progress=False)
    assert bool(made[0].replays) == on


class Exploding(nn.Module):
    """A program whose likelihood is not finite on data marked by -1."""

    def __init__(self, gradient=False):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.gradient = nn.Linear(6, 2), gradient

    def model(self, x):
        marked = (x[:, :1] < 0).float()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = z.sum(-1, keepdim=True)
            # sqrt at 0 has an infinite gradient and a finite value
            bad = (loc * (1 - marked)).abs().sqrt() * marked if self.gradient else marked / (1 - marked)
            pyro.sample("x", dist.Normal(loc + bad, 1.0).expand([len(x), 6]).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.net(x), 1.0).to_event(1))


def minus(x):
    x[0, 0] = -1
    return x


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize(
    ("gradient", "what"), [(False, "the log-likelihood of site 'x'"), (True, "the gradient of net.weight")]
)
def test_what_is_not_finite_is_named_and_the_weights_are_kept(gradient, what, on, replaying):
    made = replaying(on)
    program, seen = Exploding(gradient), []
    data = [*binary().split(9)] * 3 + batches_with(minus)[7:8]

    def remember(state):
        seen.append({name: p.detach().clone() for name, p in program.named_parameters()})

    with pytest.raises(FloatingPointError, match=f"{what} is not finite in epoch 1, batch 31"):
        fit(program, data, epochs=9, optimizer=ADAM, progress=False, callbacks=[remember])
    assert all(p.isfinite().all() for p in program.parameters())
    assert not seen
    assert bool(made[0].replays) == on


def test_what_is_unfrozen_between_epochs_is_refused():
    vae = built({})
    next(vae.parameters()).requires_grad_(False)

    def thaw(state):
        next(vae.parameters()).requires_grad_()

    with pytest.raises(ValueError, match="came later"):
        fit(vae, binary(), epochs=3, batch_size=18, optimizer=ADAM, progress=False, callbacks=[thaw])
