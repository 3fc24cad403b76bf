"""Small trainings of every kind, for tests of how their steps are taken."""

import math
from functools import partial

import torch
from torch import nn

from ppl_vae import IAF, MLP, ConvDecoder, ConvEncoder, FlowPrior, NegativeBinomial, VampPrior, build, fit
from ppl_vae.corruptions import Masking
from ppl_vae.data import from_arrays
from ppl_vae.domain import Domain
from ppl_vae.objectives import IWAE, STL, Commitment, FreeBits, InfoVAE, Linear, Trace_ELBO, TraceMeanField_ELBO
from ppl_vae.posteriors import Refined, VectorQuantized
from ppl_vae.priors import CodePrior, ConditionalNormal, Exemplar, RealNVP
from ppl_vae.split import Split
from ppl_vae.training.optim import OneCycle

EPOCHS = 4
CONVOLVED = {
    "encoder": partial(ConvEncoder, channels=(4, 6), hidden_dims=(5,)),
    "decoder": partial(ConvDecoder, channels=(6, 4), hidden_dims=(5,)),
}
ADAM = partial(torch.optim.Adam, lr=1e-3, fused=True)


def binary(n=90, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 6, generator=generator) < 0.4).float()


def images():
    return from_arrays(binary().unflatten(-1, (1, 3, 2)), domain=Domain("binary"))


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
    "codes": ({"prior": CodePrior, "posterior": VectorQuantized}, {"objective": Commitment}),
    "exemplars": ({"prior": partial(Exemplar, num_components=30, per_step=8)}, {}),
    "FlowPrior and a schedule": ({"prior": FlowPrior}, {"schedule": OneCycle(1e-2)}),
    "STL and IAF": ({"posterior": IAF}, {"objective": STL}),
    "IAF and VampPrior": ({"posterior": IAF, "prior": partial(VampPrior, num_components=3)}, {}),
    "corruption and SGD": (
        {"corruption": partial(Masking, rate=0.3)},
        {"optimizer": partial(torch.optim.SGD, lr=1e-3, momentum=0.9)},
    ),
    "batch norm and dropout": ({"encoder": Normalized}, {}),
    "mask": ({}, {"data": masked()}),
    "context": ({"like": conditional(), "prior": ConditionalNormal}, {"data": conditional()}),
    "hierarchy": ({"latent_dim": [2, 3]}, {}),
    "couplings": ({"prior": partial(RealNVP, num_transforms=2, hidden_dim=4), "latent_dim": 3}, {}),
    "a refined posterior": ({"posterior": partial(Refined, num_steps=2)}, {}),
    "convolutions": ({"like": images(), **CONVOLVED}, {"data": images()}),
    "InfoVAE": ({}, {"objective": InfoVAE(0.5, 3.0)}),
    "counts with an exposure": (
        {"like": counts(), "likelihood": partial(NegativeBinomial, exposure="context")},
        {"data": counts()},
    ),
}


def trained(case, **more):
    """A trained VAE and its history."""
    vae, result = fitted(case, **more)
    return vae, result.history.drop(columns="seconds")


def fitted(case, dtype=torch.float32, **more):
    """A trained VAE and what `fit` returned."""
    settings, call = CASES[case]
    vae = built(settings).to(dtype)
    call = {"data": binary(), "epochs": EPOCHS, "batch_size": 18, "optimizer": ADAM, "progress": False, **call, **more}
    return vae, fit(vae, call.pop("data"), **call)


def built(settings):
    small = partial(MLP, hidden_dims=[5])
    settings = {"latent_dim": 2, "encoder": small, "decoder": small, **settings}
    return build(settings.pop("like", None) or from_arrays(binary(), domain=Domain("binary")), seed=0, **settings)


def equal(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)
