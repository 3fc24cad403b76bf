"""What `ppl-vae list --compatible` prints holds: combinations train a step, or raise the printed reason."""

import itertools
import os
import random

import pyro
import pytest
import torch

from ppl_vae import objectives, traces
from ppl_vae.cli.main import main
from ppl_vae.training import combinations

ROLES = ("priors", "likelihoods", "posteriors", "objectives")
ALL = list(itertools.product(*map(combinations.leaves, ROLES)))
PRIOR_STAYS = (objectives.InfoVAE, objectives.FreeBits)
"""Of which the KL is left out, or does not count below a threshold: the prior may be without a gradient."""
EVERY = os.environ.get("PPL_VAE_TEST_CASES") == "all"


def step(prior, likelihood, posterior, objective):
    """One step of a combination: its gradients by name, those it has not `None`."""
    with pyro.get_param_store().scope():
        vae, x = combinations.combined(prior, likelihood, posterior)
        torch.manual_seed(0)
        made = objective()
        model, guide = traces.pair(vae, x)
        traces.check_pair(model, guide, len(x))
        objectives.check(made, model, guide)
        value = made.loss_and_grads(vae.model, vae.guide, x)
        assert value == value
        return {name: p.grad for name, p in vae.named_parameters() if p.requires_grad}


def printed(prior, posterior, objective):
    """The reason that is printed of a combination; empty where it goes together."""
    pair = combinations.drawn(prior, posterior)
    return pair if isinstance(pair, str) else combinations.reason(objective, pair)


def wrong(combination):
    """What is wrong with how a combination is received; empty where it is as printed."""
    prior, _, posterior, objective = combination
    why = printed(prior, posterior, objective)
    try:
        gradients = step(*combination)
    except ValueError as error:
        same = str(error).partition(" got ")[0] == why.partition(" got ")[0]
        return "" if same else f"{error}, printed: {why}"
    if why:
        return f"trained, printed: {why}"
    found = [g for g in gradients.values() if g is not None]
    if not all(bool(g.isfinite().all()) for g in found):
        return "a gradient that is not finite"
    parts = {name.partition(".")[0] for name in gradients}
    parts -= {"prior"} if objective in PRIOR_STAYS else set()
    moved = {name.partition(".")[0] for name, g in gradients.items() if g is not None and bool(g.any())}
    return f"no gradient of {parts - moved}" if parts - moved or not moved else ""


SAMPLE = ALL if EVERY else random.Random(0).sample(ALL, 400)


@pytest.mark.filterwarnings("ignore:.*vectorize_particles")
@pytest.mark.parametrize("objective", combinations.leaves("objectives"), ids=lambda c: c.__name__)
def test_combinations_train_or_raise_the_printed_reason(objective):
    names = {tuple(c.__name__ for c in some): wrong(some) for some in SAMPLE if some[3] is objective}
    assert names
    assert not {name: why for name, why in names.items() if why}


def test_parts_are_listed_and_what_goes_together(capsys, monkeypatch):
    assert main(["list"]) in (0, None)
    said = capsys.readouterr().out
    for role in ROLES:
        assert f"{role}:" in said
        assert all(f"  {c.__name__}" in said for c in combinations.leaves(role))
    assert main(["list", "--compatible"]) in (0, None)
    said = capsys.readouterr().out
    assert "CodePrior: FiniteScalar, LookupFree" in said
    assert "not Bernoulli, Beta, Categorical" in said
    assert "TopK: CodePrior expects a VectorQuantized posterior, got Bernoulli" in said
    assert "  Bernoulli: binary" in said
    assert "(BottomUp and Ladder of two levels, the others of one)" in said
    assert "TopK: a posterior and a prior expect to be both masses or both densities" in said
