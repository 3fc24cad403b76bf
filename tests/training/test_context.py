"""A class that sees the context: built without one, and one that broadcasts it against the rows of images."""

import pyro.distributions as dist
import pytest
import torch

from ppl_vae import DataSpec, Domain, build, evaluate, fit
from ppl_vae.distributions import positive
from ppl_vae.evaluation import compare
from ppl_vae.likelihoods import Likelihood
from ppl_vae.split import Split

DOMAIN, SHAPE, ROWS = Domain("counts"), (1, 4, 4), 4
generator = torch.Generator().manual_seed(0)
X = torch.poisson(torch.full((8, *SHAPE), 2.0), generator=generator)
EXPOSURE = 0.5 + torch.rand(8, 1, generator=generator)


class Counts(Likelihood):
    """Poisson counts with an exposure."""

    kinds, base_measure, sees_context = ("counts",), "mass", True

    def elementwise(self, raw_rate, exposure):
        return dist.Poisson(positive(raw_rate) * exposure.reshape(*exposure.shape[:-1], *[1] * len(self.x_shape)))


class Careless(Counts):
    """The exposure meets the last dimension of x."""

    def elementwise(self, raw_rate, exposure):
        return dist.Poisson(positive(raw_rate) * exposure)


def made(likelihood, context=((1,),)):
    return build(DataSpec(SHAPE, DOMAIN, context), latent_dim=2, likelihood=likelihood, seed=0)


def split(exposure=EXPOSURE):
    return Split(X, torch.arange(len(X)), DOMAIN, context=(exposure,), provenance={"transforms": []})


def test_batches_as_long_as_images_are_high():
    settings = {"epochs": 1, "batch_size": ROWS, "seed": 0, "progress": False}
    assert fit(made(Counts), split(), **settings).history.train_elbo.notna().all()
    with pytest.raises(ValueError, match=r"broadcast it over batches of any size, got Careless.*takes 4 data.*on 5"):
        fit(made(Careless), split(), **settings)


def test_built_without_its_context():
    vae = made(Counts, context=())
    message = r"Counts expects a context that it was built without \(.*'exposure'\), got contexts of shapes \[\]; build"
    with pytest.raises(TypeError, match=message):
        vae.decode(torch.zeros(2))
    with pytest.raises(TypeError, match=message):
        fit(vae, Split(X, torch.arange(len(X)), DOMAIN), epochs=1, seed=0, progress=False)


def test_evaluations_under_two_contexts_are_told_apart():
    results = {
        name: evaluate(made(Counts), split(e), num_samples=30, seed=0, progress=False)
        for name, e in (("a", EXPOSURE), ("b", 2 * EXPOSURE))
    }
    with pytest.raises(ValueError, match="expects the same values, masks and contexts, got those of checksum") as told:
        compare(results)
    first, second = (results[name].data["checksum"][:8] for name in "ab")
    assert first != second
    assert f"{first} for 'a' and {second} for 'b'" in str(told.value)
