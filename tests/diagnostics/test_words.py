"""A diagnosis in words says what is known, names what did not run, and contradicts itself nowhere."""

import re

import pyro
import pyro.distributions as dist
import pytest
import torch
from small_models import diagonal

from ppl_vae import Program
from ppl_vae.diagnostics import check_guide, diagnose
from ppl_vae.diagnostics.evidence import NEXT_STEP


def gaussian(scale, *, collapsed=False, dim=2):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(0 * z if collapsed else z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            loc, sd = (0 * x, torch.ones_like(x)) if collapsed else (x / 2, torch.full_like(x, scale))
            pyro.sample("z", dist.Normal(loc, sd).to_event(1))

    return Program(model, guide)


def sphere():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.ProjectedNormal(torch.tensor([1.0, 0.0, 0.0])))
            pyro.sample("x", dist.Normal(z[..., :2], 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.ProjectedNormal(torch.cat([x, torch.ones(len(x), 1)], -1)))

    return Program(model, guide)


def categorical():
    loc = torch.tensor([[-2.0, 0.0], [0.0, 2.0], [2.0, -1.0]])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(3) / 3))
            pyro.sample("x", dist.Normal(loc[z], 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=2 * dist.Normal(loc, 1.0).log_prob(x[:, None]).sum(-1)))

    return Program(model, guide)


CALL = {"num_samples": 100, "seed": 0, "progress": False}


def data(n, dim=2):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n", [1, 2, 60])
@pytest.mark.parametrize(("scale", "dim"), [(0.7, 2), (0.1, 2), (0.05, 8)])
def test_numbers_agree_with_nouns_and_with_each_other(n, scale, dim):
    check = check_guide(gaussian(scale, dim=dim), data(n, dim), **CALL)
    said = check.report()
    assert not re.search(r"\b1 (data|units|directions|statistics)\b", said)
    assert not re.search(r"[^0-9]0 data\b", said)
    assert f"other {n}" not in said
    assert (f"{n} data, S" in said) == (n > 1)
    known, bounded = int(check.known.sum()), int((~check.known).sum())
    assert ("At least" in said) == (bounded > 0)
    assert ("KL(q || p(z | x)) = " in said) == (known > 0)
    assert (" nats (median; 5-95 %: " in said) == (known > 1)
    assert ("; mean NLL " in said) == (", mean -ELBO " in said) == (n > 1)
    assert ("q is at least" in check.how_far()) == (known == 0)
    assert ("lower bounds" in check.how_far()) == (bounded > 0)


def test_nothing_is_said_of_what_did_not_run():
    quick = diagnose(gaussian(0.7), data(20), **CALL).in_short().splitlines()[0]
    assert "no evidence against it was found in calibration on simulated data." in quick
    assert "Not run without full=True: `hmc` and `ais_prior`." in quick
    assert "looked for on simulated data alone" in quick
    left = diagnose(sphere(), data(20), full=True, subset=3, length=50, **CALL)
    first = left.in_short().splitlines()[0]
    assert "Left out: `simulation_based_calibration`, `hmc` and `ais_prior` (latents as real numbers" in first
    assert "no evidence against it" not in first
    assert "Modes that q never visits were not looked for." in first
    for name in ("simulation_based_calibration", "hmc", "ais_prior", "ais_guide", "aggregated_posterior"):
        assert "expect a bijection onto the support of 'z', got ProjectedNormal" in left.left_out[name]
    assert "Which have collapsed is not known" in left.report()


def test_what_to_run_next_is_measured():
    program = gaussian(0.35)
    found = diagnose(program, data(30), diagnostics=[NEXT_STEP], **CALL)
    tried = found["next_step"]
    assert tried.sizes["tried"] == 20
    assert tried.believed.sum() > tried.known.sum()
    exact = dist.Normal(0.0, 2**0.5).log_prob(data(30)[tried.index.values.tolist()]).sum(-1).numpy()
    assert abs((tried.adaptive_log_px - exact).mean()) < abs((tried.log_px - exact).mean())
    line = str(found.in_short()).splitlines()[-1]
    assert re.search(r'evaluate\(program, data, method="adaptive", num_samples=100\)`: about \d+', line)
    assert f"Of 20 tried log p(x) is believed for {int(tried.believed.sum())}, where k-hat was good for" in line
    assert tried.refined_elbo.isnull().all()  # no VAE
    assert "next_step" not in diagnose(gaussian(0.5**0.5), data(30), diagnostics=[NEXT_STEP], **CALL).results
    again = diagnose(program, data(30), diagnostics=[NEXT_STEP], method="adaptive", **CALL)
    assert "next_step" not in again.results


def test_refining_q_is_advised_where_it_can_be():
    found = diagnose(_vae(), (torch.rand(25, 1, 4, 4) < 0.5).double(), diagnostics=[NEXT_STEP], **CALL)
    said = found.report()
    assert "`evaluate(vae, data, method=" in said
    assert "or `ppl-vae evaluate RUN --method adaptive`: about" in said
    assert "`semi_amortized(vae, num_steps=20, learning_rate=0.05)` raises the ELBO of these 20 by" in said


def _vae():
    """With a q that is too narrow."""
    vae = diagonal(25).program
    with torch.no_grad():
        for parameter in list(vae.posterior.parameters())[-1:]:
            parameter.view(2, -1)[1].fill_(-3.0)
    return vae


def test_bounds_are_called_bounds():
    found = diagnose(gaussian(0.02, dim=20), data(10, 20), **CALL).in_short().splitlines()[0]
    assert re.search(r"q is at least \d+\.\d+ nats from the posterior \(median of lower bounds\), but", found)


def test_what_is_summed_over_is_exact():
    found = diagnose(categorical(), data(20), full=True, subset=3, length=50, **CALL)
    first = found.in_short().splitlines()[0]
    assert "by the sum over all states of the latents: no mode is missed." in first
    assert "`simulation_based_calibration`" in first
    exact = check_guide(gaussian(0.0, collapsed=True), data(10), **CALL)  # of a density with one weight there is no sum
    assert not exact.evaluation.exact
    assert "sum over all states" not in exact.report()


def test_units_and_directions_do_not_contradict_each_other():
    said = diagnose(gaussian(0.7, collapsed=True), data(20), **CALL).report()
    assert "0 of 2 units are active, and 0 directions whatever the axes. Collapsed: z[0], z[1]." in said
    said = diagnose(gaussian(0.7, dim=1), data(20, 1), **CALL).report()
    assert "1 of 1 unit are" not in said
    assert "1 of 1 unit is active, and 1 direction whatever the axes. Collapsed: none." in said


def test_a_unit_that_follows_its_prior_is_said_to_be_active_and_collapsed():
    def model(x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("z1", dist.Normal(z2, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z2, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(x / 2, 0.7).to_event(1))
            pyro.sample("z1", dist.Normal(z2, 1.0).to_event(1))

    said = diagnose(Program(model, guide), data(20, 1), **CALL).report()
    both = "is active, too: its mean varies, but its KL to the prior is below 0.01 nats"
    assert (
        f"1 of 1 unit of z1 is active, and 1 direction whatever the axes. Collapsed: z1[0]; 1 of these {both}." in said
    )
