"""Priors given a context of any shape and with any leading dimensions: for each what they are given it alone."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from ppl_vae import MLP, build, evaluate, fit, priors
from ppl_vae.data import from_arrays
from ppl_vae.domain import Domain
from ppl_vae.objectives import IWAE
from ppl_vae.posteriors import Refined

SMALL = partial(MLP, hidden_dims=[8], activation="tanh")
PRIORS = {
    "RealNVP": priors.RealNVP,
    "MAF": priors.MAF,
    "NeuralSpline": priors.NeuralSpline,
    "ZukoPrior": priors.ZukoPrior,
    "FlowPrior": priors.FlowPrior,
    "ConditionalNormal": priors.ConditionalNormal,
    "VampPrior": partial(priors.VampPrior, num_components=5),
    "Exemplar": partial(priors.Exemplar, num_components=5),
}


def vae_of(shape, **settings):
    generator = torch.Generator().manual_seed(0)
    x, context = ((torch.rand(40, 6, generator=generator) < 0.4).float(), torch.randn(40, *shape, generator=generator))
    data = from_arrays(x, context=context, domain=Domain("binary"), standardize_context=False)
    return build(data, encoder=SMALL, decoder=SMALL, seed=0, **settings), data


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
@pytest.mark.parametrize("name", PRIORS)
def test_leading_dimensions(name, shape):
    prior = vae_of(shape, latent_dim=2, prior=PRIORS[name])[0].double().eval().prior
    generator = torch.Generator().manual_seed(1)
    context = torch.randn(2, 5, *shape, generator=generator).double()  # 5 is also the number of components
    z = torch.randn(2, 5, 2, generator=generator).double()
    found = prior.given(context).log_prob(z)
    each = [prior.given(c).log_prob(one) for c, one in zip(context.flatten(0, 1), z.flatten(0, 1), strict=True)]
    assert_close(found, torch.stack(each).reshape(2, 5))


@pytest.mark.parametrize("name", ["VampPrior", "Exemplar"])
def test_components_of_a_refined_posterior(name):
    vae, data = vae_of((2, 3), latent_dim=2, prior=PRIORS[name], posterior=Refined)
    context = data.train.context[0][:4]
    z = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    prior = vae.eval().prior
    each = [prior.given(c).log_prob(one) for c, one in zip(context, z, strict=True)]
    assert_close(prior.given(context).log_prob(z), torch.stack(each))


def test_contexts_of_several_dtypes():
    prior = priors.FlowPrior(2, context=[(3,), (2,)])
    label, real, z = torch.eye(3).long(), torch.rand(3, 2), torch.randn(3, 2)
    assert_close(prior.given(label, real).log_prob(z), prior.given(label.float(), real).log_prob(z))


@pytest.mark.parametrize("name", ["RealNVP", "FlowPrior", "ZukoPrior", "ConditionalNormal"])
def test_a_level_given_the_one_above_and_a_context_is_scored(name):
    vae, data = vae_of((3,), latent_dim=[2, 2], prior=[priors.StandardNormal, PRIORS[name]])
    fit(vae, data, epochs=1, batch_size=20, progress=False, seed=0, objective=IWAE(3))
    assert evaluate(vae, data.test, num_samples=20, progress=False, seed=0).per_datum.log_px.notna().all()
