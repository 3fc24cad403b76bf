"""What help says of the package is read from its source; here it is compared with the package."""

import inspect
from pkgutil import resolve_name
from typing import get_args

import pytest

from ppl_vae import data, nets, objectives
from ppl_vae.cli.source import choices, listed, literal, networks
from ppl_vae.cli.stored_run import DATA_SETS
from ppl_vae.vae.context_to import Part

BASES = {
    "ppl_vae.priors:Prior": None,
    "ppl_vae.posteriors:Posterior": None,
    "ppl_vae.likelihoods:Likelihood": None,
    "ppl_vae.nets:Network": None,
    "ppl_vae.corruptions:Corruption": None,
    "ppl_vae.objectives:BetaSchedule": None,
    "pyro.infer:ELBO": "ppl_vae.objectives",
}


def subclasses(base):
    yield base
    for cls in base.__subclasses__():
        yield from subclasses(cls)


@pytest.mark.parametrize("path", BASES)
def test_the_offered_classes_are_the_concrete_ones(path):
    base = resolve_name(path)
    module, _, name = path.partition(":")
    concrete = {c for c in subclasses(base) if not inspect.isabstract(c) and c.__name__[0] != "_"}
    offered = {c.__name__ for c in concrete if c.__module__.startswith("ppl_vae") or c.__name__ in objectives.__all__}
    found = choices(name, BASES[path] or module)
    assert set(found) == offered
    assert len(found) == len(offered)


@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_networks_are_offered_for_what_they_can_be(role):
    assert set(networks(role)) == {c.__name__ for c in subclasses(nets.Network) if _offered(c) and role in c.roles}
    assert {"MLP", "GatedMLP"} < set(networks(role))


def _offered(cls):
    return cls.__name__ in nets.__all__ and not inspect.isabstract(cls)


def test_names_are_those_of_the_package():
    assert tuple(DATA_SETS) == data.NAMES
    assert listed("ppl_vae.data") == tuple(data.__all__)
    assert literal("ppl_vae.vae.context_to", "Part") == get_args(Part)
    with pytest.raises(LookupError, match="expects an assignment to Nothing"):
        literal("ppl_vae.vae.context_to", "Nothing")
