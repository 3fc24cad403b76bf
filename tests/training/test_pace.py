"""Several steps of q alone before each of all parameters."""

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import MLP, Domain, Program, StandardNormal, VampPrior, build, data, fit
from ppl_vae.training.pace import Pace

SMALL = partial(MLP, hidden_dims=[8])


def pictures(n=200):
    return data.from_arrays(np.random.default_rng(0).random((n, 1, 4, 4)).round(), domain=Domain("binary"))


def test_it_ends_where_the_bound_stops_rising():
    pace = Pace(100, {"q"})
    for step in range(30):
        assert pace.only() == {"q"}
        pace.took(-1.0 if step >= 20 else -5.0 + step / 10)
    assert pace.only() == {"q"}  # the third ten were higher than the second
    for _ in range(10):
        pace.took(-1.0)
    assert pace.only() is None
    other = Pace(100, {"q"})
    other.set_state(pace.state())
    assert other.only() is None
    pace.took(-1.0)
    assert pace.only() == {"q"}
    assert pace.state() == Pace(100, {"q"}).state()


def test_at_most_so_many_steps_are_of_q():
    pace, found = Pace(3, {"q"}), []
    for step in range(7):
        found.append(pace.only() is None)
        pace.took(float(step))
    assert found == [False, False, True, False, False, True, False]
    assert Pace(1, {"q"}).only() is None


@pytest.mark.parametrize("prior", [StandardNormal, partial(VampPrior, num_components=3)])
def test_the_model_stands_still_in_steps_of_q(prior):
    x, seen = pictures(), []
    vae = build(x, latent_dim=2, prior=prior, encoder=SMALL, decoder=SMALL, seed=0)
    before = {name: p.clone() for name, p in vae.named_parameters()}
    with pytest.warns(
        UserWarning, match=r"more steps than 9, got \d, which moved q alone: .*; give more epochs"
    ) as told:
        fit(vae, x, epochs=1, batch_size=50, encoder_steps=10, seed=0, progress=False)
    assert told[0].filename == __file__
    moved = {name.partition(".")[0] for name, p in vae.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"posterior"}
    steps = []
    fit(
        vae,
        x,
        epochs=6,
        batch_size=50,
        encoder_steps=4,
        seed=0,
        progress=False,
        callbacks=[lambda state: seen.append(vae.likelihood.net.layers[0].weight.clone()) or steps.append(state.step)],
    )
    assert steps[-1] >= 12
    assert not all(torch.equal(a, seen[0]) for a in seen)


def test_one_is_what_was_before_and_a_resume_is_exact(tmp_path):
    x = pictures()

    def trained(epochs, run=None, resume=False, **options):
        vae = build(x, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)
        fit(vae, x, epochs=epochs, batch_size=32, seed=0, progress=False, run=run, resume=resume, **options)
        return torch.cat([p.flatten() for p in vae.parameters()])

    assert torch.equal(trained(2), trained(2, encoder_steps=1))
    whole = trained(4, encoder_steps=7)
    assert not torch.equal(whole, trained(4))
    trained(2, tmp_path / "run", encoder_steps=7)
    assert torch.equal(trained(4, tmp_path / "run", resume=True, encoder_steps=7), whole)
    with pytest.raises(ValueError, match="encoder_steps"):
        trained(5, tmp_path / "run", resume=True)


def test_a_guide_without_parameters_is_refused():
    slope = torch.nn.Parameter(torch.ones(()))
    holder = torch.nn.ParameterList([slope])

    def model(x):
        pyro.module("holder", holder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(slope * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))

    program = Program(model, guide, holder)
    with pytest.raises(ValueError, match=r"encoder_steps expects a guide with parameters.*got none"):
        fit(program, torch.randn(20), epochs=1, encoder_steps=3, progress=False)
