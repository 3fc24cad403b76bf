"""Steps without validation, and steps replayed as a graph: the same numbers, and every protection."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from trainings import ADAM, CASES, EPOCHS, Normalized, binary, built, equal, trained

from ppl_vae import CodePrior, fit, load
from ppl_vae.objectives import Capacity, Commitment, Linear, WakeSleep
from ppl_vae.posteriors import ResidualQuantized
from ppl_vae.training import loop, steps
from ppl_vae.training.gradients import alike

NEVER = 10**9


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


class Stumbling(Normalized):
    """A network that fails once, after its batch statistics have moved."""

    left = -1

    def forward(self, x):
        found = super().forward(x)
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("stumbled")
        return found


@pytest.mark.parametrize("on", [False, True])
def test_a_repeated_step_moves_batch_statistics_once(on, replaying):
    def stumble_at(epoch):
        def stumble(state):
            if state.epoch == epoch:
                state.program.posterior.net.left = 3  # the first step of an epoch is validated, others are not

        return stumble

    trainings = []
    for epoch in (0, 2):
        replaying(on)
        vae = built({"encoder": Stumbling})
        fit(vae, binary(), epochs=EPOCHS, batch_size=18, optimizer=ADAM, progress=False, callbacks=[stumble_at(epoch)])
        trainings.append(vae)
    assert equal(*trainings)


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


@pytest.mark.parametrize(
    ("settings", "call"),
    [
        ({}, {"objective": WakeSleep()}),
        ({}, {"objective": Capacity(2.0), "beta": Linear(2)}),
        ({"prior": CodePrior, "posterior": ResidualQuantized}, {"objective": Commitment()}),
    ],
    ids=["WakeSleep", "capacity with warm-up", "residual codes"],
)
def test_an_objective_that_cannot_be_replayed_is_called(settings, call, replaying):
    trainings = []
    for on in (False, True):
        made = replaying(on)
        vae = built(settings)
        found = fit(vae, binary(), epochs=EPOCHS, batch_size=18, optimizer=ADAM, progress=False, **call)
        trainings.append((vae, found.history.drop(columns="seconds")))
    assert made[-1].replays == 0
    assert made[-1].reason
    assert trainings[0][1].equals(trainings[1][1])
    assert equal(trainings[0][0], trainings[1][0])


def test_a_layer_with_two_names_is_replayed(replaying):
    class Twice(Normalized):
        def __init__(self, *shapes):
            super().__init__(*shapes)
            self.again = self.net

    trainings = []
    for on in (False, True):
        made = replaying(on)
        vae = built({"encoder": Twice})
        fit(vae, binary(), epochs=EPOCHS, batch_size=18, optimizer=ADAM, progress=False)
        assert isinstance(vae.posterior.net.net[0].weight, nn.Parameter)
        trainings.append(vae)
    assert made[-1].reason is None
    assert made[-1].replays > 3
    assert equal(*trainings)


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


@pytest.mark.parametrize(("apart", "same"), [(1e-3, True), (0.1, False)])
def test_terms_that_cancel_are_compared_to_rounding_of_a_nat_a_datum(apart, same):
    fine, gradient = torch.tensor(True), torch.ones(3)
    expected = [fine, torch.tensor([[0.3, 1e-5]]), gradient]
    assert alike([fine, expected[1] + apart, gradient], expected, num_data=128) == same
    assert not alike([fine, expected[1], gradient + 1e-3], expected, num_data=128)
