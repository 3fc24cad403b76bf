"""The training loop: what it records, refuses, restores and leaves alone."""

import json
import pickle
import random
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    EnergyDistance,
    JitTrace_ELBO,
    ReweightedWakeSleep,
    Trace_MMD,
    TraceEnum_ELBO,
    TraceTailAdaptive_ELBO,
)
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import MultiStepLR
from torch.utils.data import DataLoader, TensorDataset

from ppl_vae import (
    DataSpec,
    Domain,
    Flat,
    Gaussian,
    Point,
    Program,
    build,
    traces,
)
from ppl_vae.data import SampleBinary, load
from ppl_vae.evaluation import evaluate
from ppl_vae.nets import MLP
from ppl_vae.objectives import IWAE, FreeBits, Linear, Trace_ELBO, TraceMeanField_ELBO
from ppl_vae.split import Split
from ppl_vae.training import Batch, Fit, OneCycle, fit

DTYPE = torch.get_default_dtype()
STILL = partial(SGD, lr=1e-20)
FAST = partial(Adam, lr=3e-3, fused=True)
NET = partial(MLP, hidden_dims=[64])
X = (torch.rand(50, 6, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def vae(kind="binary", context=(), latent_dim=2, width=8, seed=0, **parts):
    torch.manual_seed(seed)
    net = partial(MLP, hidden_dims=[width])
    described = DataSpec((6,), Domain(kind, 5), context)
    return build(described, latent_dim=latent_dim, encoder=net, decoder=net, **parts)


def state(module):
    return {name: p.detach().clone() for name, p in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("widths", [(8, 8), (8, 12)])
def test_two_programs_train_in_one_process(widths):
    for vae_ in [vae(width=width, seed=seed) for seed, width in enumerate(widths)]:
        before = state(vae_)
        history = fit(vae_, X, epochs=20, batch_size=10, optimizer=FAST).history
        assert not any(torch.equal(p, before[name]) for name, p in vae_.named_parameters())
        assert history.train_elbo[20] > history.train_elbo[1]
    assert not list(pyro.get_param_store().keys())


def test_nothing_global_changes():
    vae_ = vae()
    vae_.posterior.eval()
    pyro.param("mine", torch.ones(()))
    modes = [m.training for m in vae_.modules()]
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()

    def unchanged():
        after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]
        assert [m.training for m in vae_.modules()] == modes
        assert list(pyro.get_param_store().keys()) == ["mine"]
        assert torch.get_default_dtype() is DTYPE
        assert all(p.grad is None for p in vae_.parameters())

    fit(vae_, X, validation=X, epochs=1, batch_size=20)
    unchanged()

    def interrupt(state):
        torch.rand(3), np.random.rand(), random.random()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(vae_, X, epochs=3, callbacks=[interrupt], progress=True)
    unchanged()
    pickle.loads(pickle.dumps(vae_))


def test_no_gpu_is_reseeded(monkeypatch):
    vae_ = vae()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("every GPU was reseeded"))
    fit(vae_, X, validation=X, epochs=2, device="cpu")


@pytest.mark.float32
def test_history_is_weighted_by_size_and_at_beta_one():
    """Against the terms computed outside, from a last batch smaller than the others."""
    vae_ = vae()
    history = fit(vae_, X, validation=X, epochs=2, batch_size=40, beta=Linear(2), optimizer=STILL).history
    assert list(history.beta) == [0.5, 1.0]
    assert list(history.learning_rate) == [1e-20] * 2
    for part in ("train", "validation"):
        columns = history[[f"{part}_elbo", f"{part}_reconstruction", f"{part}_kl_z"]]
        elbo, reconstruction, kl = columns.iloc[0]
        assert elbo == pytest.approx(reconstruction - kl)
    draws = [traces.total(traces.observed(traces.pair(vae_, X)[0])["x"]).item() / 50 for _ in range(300)]
    assert history.validation_reconstruction[1] == pytest.approx(np.mean(draws), abs=0.1)
    assert history.validation_elbo[1] == history.validation_elbo[2]  # the same draws for the same weights
    assert (history.seconds > 0).all()


@pytest.mark.parametrize(
    "objective",
    [
        Trace_ELBO,
        Trace_ELBO(3),
        Trace_ELBO(3, vectorize_particles=True),
        IWAE(3),
        FreeBits(0.1),
        TraceMeanField_ELBO,
        JitTrace_ELBO,
        TraceTailAdaptive_ELBO(num_particles=3, vectorize_particles=True),
    ],
    ids=lambda o: getattr(o, "__name__", type(o).__name__),
)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*jit.*")
def test_history_means_the_same_under_every_objective(objective):
    history = fit(vae(), X, epochs=1, objective=objective, optimizer=STILL).history
    reference = fit(vae(), X, epochs=40, optimizer=STILL).history.train_elbo
    assert history.train_elbo[1] == pytest.approx(reference.mean(), abs=6 * reference.std() + 1e-6)


def test_last_batch_may_be_smaller_and_the_only_one():
    assert len(fit(vae(), X, epochs=1, batch_size=1000).history) == 1
    weighted = fit(vae(), X, epochs=1, batch_size=49, optimizer=STILL).history.train_elbo[1]
    whole = fit(vae(), X, epochs=30, batch_size=50, optimizer=STILL).history.train_elbo
    assert weighted == pytest.approx(whole.mean(), abs=6 * whole.std())


class Endless:
    """An iterable of batches that starts anew each time, of unknown length."""

    def __init__(self, *tensors):
        self.tensors = tensors

    def __iter__(self):
        batches = zip(*(t.split(20) for t in self.tensors), strict=True)
        return iter([b[0] for b in batches] if len(self.tensors) == 1 else list(batches))


C = nn.functional.one_hot(torch.arange(50) % 3).float()


WHOLE = torch.arange(50)
FORMS = {
    "x": X,
    "int": X.int(),
    "double": X.double(),
    "context": (X, C),
    "array": X.double().numpy(),
    "array, context": (X.numpy()[::-1], C.numpy()),
    "loader of ints": DataLoader(TensorDataset(X.int()), batch_size=20),
    "loader of bools": DataLoader(TensorDataset(X.bool()), batch_size=20),
    "iterable of batches": [Batch(X, mask=X < 2)],
    "iterable of arrays": [X.numpy()],
    "split": Split(X, WHOLE),
    "split, context": Split(X, WHOLE, context=(C,)),
    "mask": Split(X, WHOLE, mask=X < 2),
    "pending": Split(X / 2, WHOLE, pending=(SampleBinary(),), mask=X < 0.5),
    "data": SimpleNamespace(train=Split(X, WHOLE), validation=Split(X[:9], WHOLE[:9])),
    "loader": DataLoader(TensorDataset(X), batch_size=20, shuffle=True),
    "loader, context": DataLoader(TensorDataset(X, C), batch_size=20, shuffle=True, generator=torch.Generator()),
    "iterable": Endless(X),
    "iterable, context": Endless(X, C),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_of_every_form(form, dtype):
    data, has_context = FORMS[form], "context" in form
    vae_ = vae(context=((3,),) if has_context else ()).to(dtype)
    history = fit(vae_, data, epochs=2, batch_size=20).history
    assert np.isfinite(history.to_numpy()).all()
    assert {p.dtype for p in vae_.parameters()} == {dtype}


def generator():
    yield X


def masked(mask):
    """Data of such a mask, in memory, with preprocessing to come, from a loader, and for validation."""
    tensor = mask if isinstance(mask, torch.Tensor) else torch.full(X.shape, mask)
    pending = Split(X, WHOLE, mask=tensor, pending=(SampleBinary(),))
    batch = [Batch(X, mask=mask)]
    return (Split(X, WHOLE, mask=tensor), {}), (pending, {}), (batch, {}), (X, {"validation": batch})


MASKS = [
    (X[:, 0] < 2, r"shape of x, \(50, 6\), got \(50,\); give one value an element"),
    (torch.ones_like(X), "expects booleans.*got torch.float32; convert it: mask > 0"),
    (X > 2, "got False everywhere; .*its inverse"),
    (False, "got False everywhere"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"program": object()}, TypeError, "Program\\(model, guide\\)"),
        ({"data": 3}, TypeError, "tensors or an iterable"),
        ({"data": generator()}, ValueError, "passed over once only"),
        ({"data": Endless(X).__iter__()}, ValueError, "passed over once only"),
        ({"data": [{"image": X}]}, TypeError, "collate_fn"),
        ({"data": []}, ValueError, "at least one batch"),
        ({"data": [X[:8], X[:0]]}, ValueError, "one datum or more, got an empty one"),
        ({"data": TensorDataset(X[:0])}, ValueError, "got an empty TensorDataset"),
        ({"data": DataLoader(TensorDataset(X[:8]), 16, drop_last=True)}, ValueError, "drop_last=True"),
        ({"data": X[:0]}, ValueError, "at least one datum"),
        ({"data": X.masked_fill(X > 0, torch.nan)}, ValueError, "mask="),
        ({"data": torch.cat([X, X[:1] * torch.nan]), "batch_size": 5}, ValueError, "mask=.*epoch 1, batch"),
        ({"data": X / 2}, ValueError, "binarize"),
        ({"data": torch.cat([X, X[:1] + 0.5]), "batch_size": 5}, ValueError, "binarize.*epoch 1, batch"),
        ({"batch_size": 0}, ValueError, "a whole number from 1 on, got 0"),
        ({"epochs": 0}, ValueError, "a whole number from 1 on, got 0"),
        ({"beta": 0}, ValueError, "Constant expects beta to be a number above 0"),
        ({"beta": -1.0}, ValueError, "Constant expects beta to be a number above 0"),
        ({"patience": 2}, ValueError, "validation="),
        ({"resume": True}, ValueError, "give run="),
        ({"device": "abacus"}, ValueError, "choose one"),
        ({"data": Endless(X), "schedule": OneCycle()}, ValueError, "known length"),
        ({"data": Endless(X), "beta": Linear(2)}, ValueError, "known length"),
        ({"objective": IWAE(2), "beta": 0.5}, ValueError, "no bound"),
        ({"objective": ReweightedWakeSleep}, ValueError, "with one loss, got ReweightedWakeSleep.*use objectives.IWAE"),
        ({"objective": EnergyDistance()}, TypeError, "expects an ELBO with a loss.*got EnergyDistance; use Trace_ELBO"),
        ({"objective": "elbo"}, TypeError, "expects an ELBO with a loss.*got str; use Trace_ELBO"),
        ({"objective": Trace_MMD}, TypeError, "needs no arguments, got Trace_MMD.*'kernel'.*give one that is made"),
        ({"objective": TraceTailAdaptive_ELBO}, ValueError, "got vectorize_particles=False; give TraceTailAdaptive"),
        ({"data": np.array(["a", "b"])}, TypeError, "x expects numbers, got dtype <U1; convert"),
        ({"data": DataLoader(TensorDataset(X, WHOLE), 20)}, ValueError, r"\[\(20,\)\], taken as context.*give x alone"),
        *[({"data": data, **more}, ValueError, message) for mask, message in MASKS for data, more in masked(mask)],
        ({"program": vae(kind="real", likelihood=Gaussian, prior=Flat), "data": X}, ValueError, "use Point"),
    ],
)  # fmt: skip
def test_refusals(change, error, message):
    program = change.pop("program") if "program" in change else vae()
    data = change.pop("data", X)
    with pytest.raises(error, match=message):
        fit(program, data, **{"epochs": 2, **change})


def test_frozen_parts_stay():
    vae_ = vae()
    vae_.likelihood.requires_grad_(False)
    before = state(vae_)
    fit(vae_, X, epochs=2)
    moved = {name.split(".")[0] for name, p in vae_.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"posterior"}
    with pytest.raises(ValueError, match="unfreeze"):
        fit(vae_.requires_grad_(False), X, epochs=1)


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        scale = pyro.param("noise.scale", lambda: torch.tensor(2.0), constraint=dist.constraints.positive)
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), scale).expand([len(x), 6]).to_event(1), obs=x)


def guide(x):
    loc = pyro.param("loc", torch.zeros(2))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc.expand(len(x), 2), 1.0).to_event(1))


def test_a_program_owns_its_params():
    program, other = Program(model, guide), Program(model, guide)
    fit(program, X, epochs=30, optimizer=partial(SGD, lr=1e-3))
    (scale,) = [p for name, p in program.named_parameters() if "scale" in name]
    assert scale.exp() != 2.0
    assert len(other.params) == 0
    assert not list(pyro.get_param_store().keys())


class Own(nn.Module):
    """A user's module, with `pyro.module` and an enumerated site."""

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = nn.Linear(2, 6), nn.Linear(6, 2)

    def model(self, x):
        pyro.module("own", self)
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)))
            logits = self.decoder(nn.functional.one_hot(k, 2).float())
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("own", self)
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=self.encoder(x)), infer={"enumerate": "parallel"})


@pytest.mark.float32
def test_a_module_of_ones_own_with_an_enumerated_site():
    history = fit(Own(), X, validation=X, epochs=3, objective=TraceEnum_ELBO).history
    assert history.validation_elbo[3] > history.validation_elbo[1]
    with pytest.raises(ValueError, match="TraceEnum_ELBO"):
        fit(Own(), X, epochs=1)


@pytest.mark.float32
def test_enumerated_sites_have_every_column_in_a_warm_up():
    torch.manual_seed(0)
    own = Own()
    program = Program(own.model, own.guide)
    parts = {"objective": TraceEnum_ELBO, "beta": Linear(2), "batch_size": 5, "optimizer": STILL}
    history = fit(program, X, validation=X, epochs=40, **parts).history
    assert history.notna().all(axis=None)
    exact = -TraceEnum_ELBO(max_plate_nesting=1).loss(program.model, program.guide, X) / 50
    drawn = history.train_reconstruction - history.train_kl_k
    assert drawn.mean() == pytest.approx(exact, abs=6 * drawn.std() / 40**0.5)
    for part in ("train", "validation"):
        for epoch in (1, 3):  # in the warm-up, and after it
            assert history[f"{part}_elbo"][epoch] == pytest.approx(exact, rel=1e-5)


def bare(x):
    pyro.param("stray", torch.zeros(2))
    guide(x)


def test_stray_parameters_are_refused():
    module = nn.Linear(1, 1)
    module.model, module.guide = model, bare
    with pytest.raises(ValueError, match="Program"):
        fit(module, X, epochs=1)


def test_early_stopping_waits_for_the_warm_up_and_the_best_weights_are_kept():
    vae_, seen = vae(), []
    watch = [lambda state: seen.append(state.waited)]
    result = fit(vae_, X, validation=X, epochs=50, beta=Linear(6), patience=3, optimizer=STILL, callbacks=watch)
    assert result.stopped == "patience"
    assert len(result.history) == 6 + 3
    assert seen == [0] * 6 + [1, 2, 3]
    assert result.best_epoch == 1


def test_weights_of_the_best_epoch_come_back():
    vae_, kept = vae(), {}
    result = fit(
        vae_, X[:20], validation=X[20:], epochs=40, batch_size=5, optimizer=partial(Adam, lr=0.1),
        callbacks=[lambda s: kept.update({s.epoch: state(s.program)})],
    )  # fmt: skip
    assert result.best_epoch == result.history.validation_elbo.idxmax() < 40
    assert same(state(vae_), kept[result.best_epoch])
    assert f"kept epoch {result.best_epoch}" in repr(result)
    before = state(vae_)
    evaluate(vae_, X, num_samples=30, seed=0)
    assert same(state(vae_), before)


def test_callbacks():
    class Stop:
        def on_epoch_end(self, state):
            return state.epoch == 2

    result = fit(vae(), X, epochs=9, callbacks=[lambda s: None, Stop()])
    assert (result.stopped, len(result.history)) == ("callback", 2)
    for answer, name in ((np.zeros(2), "ndarray"), (torch.zeros(2), "Tensor")):
        with pytest.raises(TypeError, match=f"False or None to go on, got {name} from <lambda> .*; return None"):
            fit(vae(), X, epochs=9, callbacks=[lambda s, answer=answer: answer])


def test_schedules_and_other_optimizers():
    rates = fit(vae(), X, epochs=10, batch_size=25, schedule=OneCycle(peak=0.01)).history.learning_rate
    assert rates.idxmax() == 3
    assert rates[10] < 1e-5
    step = fit(vae(), X, epochs=3, optimizer=partial(SGD, lr=0.1), schedule=lambda o, n: MultiStepLR(o, [1, 2])).history
    assert list(step.learning_rate) == pytest.approx([0.1, 0.01, 0.001])


def test_progress_can_be_turned_on_and_off(capsys):
    fit(vae(), X, epochs=1)
    fit(vae(), X, epochs=1, progress=False)
    assert capsys.readouterr() == ("", "")
    fit(vae(), X, epochs=1, progress=True)
    assert "elbo=-" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Encountered")
@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (lambda v: v.posterior.net, "log q of site 'z'"),
        (lambda v: v.likelihood.net, "the log-likelihood of site 'x'"),
    ],
)
def test_what_is_not_finite_is_named_and_goes_no_further(breaks, message, tmp_path):
    vae_ = vae()

    def poison(state):
        if state.epoch == 2:
            with torch.no_grad():
                breaks(state.program).layers[-1].bias.fill_(torch.nan)

    with pytest.raises(FloatingPointError, match=f"{message} is not finite in epoch 3, batch 1"):
        fit(vae_, X, validation=X[:9], epochs=5, callbacks=[poison], run=tmp_path)
    assert all(p.isfinite().all() for p in vae_.parameters())
    assert all(p.grad is None for p in vae_.parameters())
    assert json.loads((tmp_path / "checkpoint.json").read_text())["epoch"] == 2


@pytest.mark.filterwarnings("ignore:Encountered")
def test_weights_stay_finite_when_they_overflow():
    vae_ = vae(kind="real", likelihood=Gaussian)
    with pytest.raises(FloatingPointError, match="epoch 1, batch"):
        fit(vae_, torch.randn(50, 6), epochs=5, batch_size=10, optimizer=partial(SGD, lr=1e30))
    assert all(p.isfinite().all() for p in vae_.parameters())


def test_a_gradient_that_is_not_finite_names_its_parameter():
    vae_ = vae()
    vae_.likelihood.net.layers[0].weight.register_hook(lambda g: g * torch.inf)
    with pytest.raises(FloatingPointError, match=r"gradient of likelihood.net.layers.0.weight .* epoch 1"):
        fit(vae_, X, epochs=1)


def test_clip_norm_shortens_the_gradient():
    vae_ = vae()
    before = state(vae_)
    fit(vae_, X, epochs=1, optimizer=partial(SGD, lr=1.0), clip_norm=1e-3)
    step = sum((p - before[n]).square().sum() for n, p in vae_.named_parameters()).sqrt()
    assert step.item() == pytest.approx(1e-3, rel=1e-3)


def test_an_autoencoder_has_a_history_without_kl():
    history = fit(vae(prior=Flat, posterior=Point), X, validation=X, epochs=2).history
    assert not [c for c in history if "kl" in c]
    assert list(history.train_elbo) == list(history.train_reconstruction)


# ------ claims on held-out digits


@pytest.fixture(scope="module")
def digits():
    return load("digits").binarize("threshold")


def elbo(program, x, *context, mask=True, draws=8):
    """The per-datum ELBO, the mean of some draws."""
    torch.manual_seed(0)
    with torch.no_grad():
        return torch.stack([_elbo(program, x, *context, mask=mask) for _ in range(draws)]).mean(0)


def _elbo(program, x, *context, mask):
    model, guide = traces.pair(program, x, *context, mask=mask)
    where = traces.plates(model, len(x))
    p = sum(traces.log_prob(s, where)[0] for s in (traces.latents(model) | traces.observed(model)).values())
    return p - sum(traces.log_prob(s, where)[0] for s in traces.latents(guide).values())


@pytest.mark.float32
def test_a_conditional_vae_prefers_the_right_label(digits):
    data = digits.condition_on_labels()
    vae_ = build(data, latent_dim=2, encoder=NET, decoder=NET)
    fit(vae_, data, epochs=25, batch_size=50, optimizer=FAST)
    x, (y,) = data.test.x, data.test.context
    right = elbo(vae_, x, y)
    wrong = torch.stack([elbo(vae_, x, y.roll(k, -1)) for k in range(1, 10)])
    assert (right > wrong).float().mean() > 0.9
    assert (right > wrong.max(0).values).float().mean() > 0.6


def test_a_vae_with_missing_pixels_imputes_better_than_the_mean(digits):
    data = digits.hide(0.3, seed=1)
    vae_ = build(data, latent_dim=5, encoder=NET, decoder=NET)
    fit(vae_, data, epochs=40, batch_size=50, optimizer=FAST)
    truth, mask = digits.test.x, data.test.mask
    assert torch.equal(data.test.x[mask], truth[mask])
    mean = (data.train.x * data.train.mask).sum(0) / data.train.mask.sum(0)
    imputed = torch.stack([vae_.reconstruct(data.test.x, mask=mask, seed=seed) for seed in range(20)]).mean(0)
    error = [(guess.expand_as(truth) - truth)[~mask].square().mean().item() for guess in (imputed, mean)]
    assert error[0] < 0.85 * error[1]


def curve(values, stopped="epochs", best=None, trained=0.0):
    columns = {"train_elbo": trained, "validation_elbo": values, "train_kl_z": 1.0}
    return repr(Fit(pd.DataFrame(columns, index=range(1, len(values) + 1)), best or len(values), stopped, None))


def test_a_fit_says_that_it_still_improves():
    rng = np.random.default_rng(0)
    flat, steep = rng.normal(size=40), np.linspace(-60, -40, 40) + 0.3 * rng.normal(size=40)
    said = r"still improving: in the last 10 epochs the validation elbo rose by \d.*; train for more"
    assert re.search(said, curve(steep))
    assert "still improving" not in curve(np.r_[steep, -40 + 0.3 * flat[:20]])
    assert "still improving" not in curve(steep, "patience")
    assert "still improving" not in curve(steep[:5])
    assert "still improving" not in curve(-steep)
    assert "still improving" not in curve(np.full(20, -5.0))
    false = sum("still improving" in curve(rng.normal(size=10)) for _ in range(200))
    assert false < 20  # about 4 % of lines through noise, 8 of 200, rise by more than twice it


def test_a_fit_says_that_it_has_fallen_since_its_best_epoch():
    rng = np.random.default_rng(0)
    hill = np.r_[np.linspace(-60, -40, 20), np.linspace(-40, -50, 40)] + 0.1 * rng.normal(size=60)
    overfits = curve(hill, best=20, trained=np.linspace(-60, -30, 60))
    said = r"falling: the validation elbo of the last 10 epochs is (\d\.\d+) nats per datum below that of epoch 20, "
    assert float(re.search(said, overfits)[1]) == pytest.approx(10 * 34.5 / 39, abs=0.5)
    assert re.search(r"that of training rose by \d+\.?\d*: fewer epochs, or smaller networks$", overfits)
    assert re.search(
        r"of epoch 20: a smaller learning rate, or a bound `clip_norm`", curve(hill, best=20, trained=hill)
    )
    assert "falling" not in curve(hill, "patience", best=20)
    assert "falling" not in curve(hill[:20])
    decaying = np.r_[-40 + 0.1 * rng.normal(size=100), np.full(20, -40.0)]  # as a learning rate does
    assert "falling" not in curve(decaying, best=int(decaying.argmax()) + 1)
    noise = rng.normal(size=(200, 300))
    assert sum("falling" in curve(values, best=int(values.argmax()) + 1) for values in noise) <= 3
