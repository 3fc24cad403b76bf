"""A public call means the same wherever it stands: grad modes, default dtypes and devices, Pyro handlers, threads."""

import copy
import threading
import time
from contextlib import contextmanager
from functools import partial

import forked
import joblib
import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

from ppl_vae import (
    StandardNormal,
    VampPrior,
    build,
    check_guide,
    data,
    evaluate,
    fit,
    fit_prior,
    to_arviz,
)
from ppl_vae import diagnostics as dg
from ppl_vae.isolation import alone, ambient
from ppl_vae.sklearn import VariationalAutoencoder

DTYPE = torch.get_default_dtype()
DIGITS = data.load("digits").binarize("threshold").take(train=64, validation=16, test=8)


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SCOPES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": partial(default_dtype, torch.float64),
    "torch.device": partial(torch.device, "meta"),
    "default device": partial(default_device, "meta"),
    "scaled": partial(poutine.scale, scale=0.1),
    "masked": partial(poutine.mask, mask=False),
    "blocked": poutine.block,
    "in a plate": partial(pyro.plate, "outer", 3, dim=-2),
    "traced": poutine.trace,
}


def made():
    return build(DIGITS, latent_dim=2, prior=partial(VampPrior, num_components=3), seed=0)


UNTRAINED = made()


def trained():
    with torch.inference_mode(False):
        vae = copy.deepcopy(UNTRAINED)
    fit(vae, DIGITS, epochs=2, seed=0, progress=False)
    return vae


def _weights(vae):
    return torch.cat([p.detach().flatten() for p in vae.parameters()])


VERBS = {
    "fit": lambda vae: _weights(trained()),
    "fit_prior": lambda vae: _weights(fit_prior(vae, DIGITS.train, StandardNormal, epochs=1, progress=False)),
    "evaluate": lambda vae: evaluate(vae, DIGITS.test, num_samples=30, seed=0, progress=False).per_datum.to_numpy(),
    "check_guide": lambda vae: check_guide(
        vae, DIGITS.test, num_samples=30, seed=0, progress=False
    ).evaluation.per_datum.to_numpy(),
    "to_arviz": lambda vae: to_arviz(vae, DIGITS.test, num_samples=30, seed=0, progress=False).posterior["z"].values,
    "ais": lambda vae: (
        dg.ais(vae, DIGITS.test, num_temperatures=3, num_chains=2, seed=0, progress=False)["log_px"].values
    ),
    "hmc": lambda vae: (
        dg.hmc(vae, DIGITS.test[:2], num_chains=4, num_warmup=50, num_samples=25, seed=0, progress=False)
        .posterior["z"]
        .values
    ),
    "inference_gaps": lambda vae: (
        dg.inference_gaps(vae, DIGITS.test, num_steps=3, num_samples=30, seed=0, progress=False)
        .to_dataframe()
        .to_numpy()
    ),
    "sample": lambda vae: vae.sample(3, seed=0).numpy(),
    "encode": lambda vae: vae.encode(DIGITS.test.x).mean.detach().numpy(),
    "reconstruct": lambda vae: vae.reconstruct(DIGITS.test.x, seed=0).numpy(),
    "estimator": lambda _: (
        VariationalAutoencoder(2, epochs=1, random_state=0)
        .fit(DIGITS.train.x.flatten(1).numpy())
        .score_samples(DIGITS.test.x.flatten(1).numpy())
    ),
    "build": lambda vae: _weights(made()),
}


@pytest.fixture(scope="module")
def vae():
    return trained()


@pytest.fixture(scope="module")
def right(vae):
    return {name: np.asarray(verb(vae)) for name, verb in VERBS.items()}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
@pytest.mark.parametrize("name", VERBS)
def test_a_call_means_the_same_in_every_scope(name, scope, vae, right):
    if name == "build" and scope in (SCOPES["float64"], SCOPES["torch.device"], SCOPES["default device"]):
        return  # new weights are made as the caller asks for them
    with scope():
        came = VERBS[name](vae)
    np.testing.assert_array_equal(np.asarray(came), right[name])
    assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == (True, False)
    assert torch.get_default_dtype() == DTYPE
    assert torch.zeros(1).device.type == "cpu"


def test_data_made_in_inference_mode_can_be_trained_on_and_diagnosed(vae, right):
    with torch.inference_mode():
        digits = data.load("digits").binarize("threshold").take(train=64, validation=16, test=8)
        bare = digits.test.x.clone()
    other = copy.deepcopy(UNTRAINED)
    fit(other, digits, epochs=2, seed=0, progress=False)
    np.testing.assert_array_equal(_weights(other), right["fit"])
    for x in (digits.test, bare):
        found = dg.ais(vae, x, num_temperatures=3, num_chains=2, seed=0, progress=False)["log_px"]
        np.testing.assert_array_equal(found.values, right["ais"])


def test_autocast_is_not_used_and_said(vae, right):
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.warns(UserWarning, match="autocast is not used"):
        came = VERBS["evaluate"](vae)
    np.testing.assert_array_equal(came, right["evaluate"])


def test_a_scope_is_left_as_it_was_found_after_an_error():
    def fail():
        with ambient(torch.zeros(1, dtype=torch.float64)):
            assert torch.is_grad_enabled()
            assert torch.get_default_dtype() == torch.float64
            assert not pyro.poutine.runtime._PYRO_STACK
            raise ZeroDivisionError

    with torch.inference_mode(), poutine.trace() as outer, pytest.raises(ZeroDivisionError):
        fail()
    assert torch.get_default_dtype() == DTYPE
    assert not pyro.poutine.runtime._PYRO_STACK
    assert not outer.trace.nodes


def test_a_thread_that_waits_does_not_bring_back_the_handlers_of_another():
    waiting, fail = threading.Event(), []

    def second():
        waiting.set()
        with ambient(torch.zeros(1)):
            fail.extend(pyro.poutine.runtime._PYRO_STACK)

    with ambient(torch.zeros(1, dtype=torch.float64)), poutine.trace():
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait()
        time.sleep(0.1)  # time to reach the lock
    thread.join()
    assert not fail
    assert not pyro.poutine.runtime._PYRO_STACK
    assert torch.get_default_dtype() == DTYPE


def test_trainings_in_threads_do_not_disturb_each_other(right):
    vaes = [copy.deepcopy(UNTRAINED) for _ in range(3)]
    threads = [threading.Thread(target=fit, args=(v, DIGITS), kwargs={"epochs": 2, "progress": False}) for v in vaes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for v in vaes:
        np.testing.assert_array_equal(_weights(v), right["fit"])


def test_evaluations_in_joblib_threads(vae, right):
    came = joblib.Parallel(4, backend="threading")(joblib.delayed(VERBS[n])(vae) for n in ["evaluate", "hmc"] * 2)
    for found, name in zip(came, ["evaluate", "hmc"] * 2, strict=True):
        np.testing.assert_array_equal(found, right[name])


def test_a_callback_may_call_what_it_likes(vae):
    seen = []
    other = copy.deepcopy(UNTRAINED)
    look = lambda state: seen.append(evaluate(state.program, DIGITS.test, num_samples=30, progress=False)) and None  # noqa: E731
    fit(other, DIGITS, epochs=2, seed=0, progress=False, callbacks=[look])
    assert len(seen) == 2
    np.testing.assert_array_equal(_weights(other), _weights(vae))


def test_one_thread_at_a_time():
    inside, most = 0, 0

    def enter():
        nonlocal inside, most
        with alone(), alone():
            inside += 1
            most = max(most, inside)
            time.sleep(0.002)
            inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_parameters_are_validated_where_the_user_imported_zuko():
    """Its import turns off torch's validation: a density with an impossible parameter then is a finite number."""
    pytest.importorskip("zuko")
    program = """if True:
        import pyro, torch, zuko
        import pyro.distributions as dist
        from torch.distributions import Distribution
        from ppl_vae import Program, evaluate

        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Gamma(z - z - 0.5, 1.0).to_event(1), obs=x)

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))

        def scored():
            try:
                found = evaluate(Program(model, guide), torch.ones(3, 1), num_samples=30, seed=0, progress=False)
            except ValueError as error:
                return "refused" if "concentration" in str(error) else error
            return found.per_datum.elbo.notna().all()

        print(Distribution._validate_args, scored(), Distribution._validate_args)
        pyro.enable_validation(False)
        print(scored())
    """
    assert forked.run("-c", program).split("\n")[:2] == ["False refused False", "True"]
