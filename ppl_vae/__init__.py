"""Variational autoencoders as Pyro `model` and `guide`: any prior, likelihood and posterior, one contract."""

from ppl_vae import corruptions, data, diagnostics, manifold, objectives, sklearn
from ppl_vae.conditional import Amortized, Chain, Conditional
from ppl_vae.corruptions import Corruption, GaussianNoise, Masking, SaltAndPepper
from ppl_vae.diagnostics import check_guide, diagnose, to_arviz
from ppl_vae.domain import Domain
from ppl_vae.evaluation import Evaluation, compare, evaluate
from ppl_vae.likelihoods import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Heterogeneous,
    Likelihood,
    NegativeBinomial,
)
from ppl_vae.nets import MLP, ConvDecoder, ConvEncoder, GatedMLP
from ppl_vae.posteriors import IAF, DiagonalNormal, FullRankNormal, Point, Posterior, TopK, VectorQuantized
from ppl_vae.priors import (
    CodePrior,
    ConditionalNormal,
    Flat,
    FlowPrior,
    GaussianMixture,
    Laplace,
    Prior,
    StandardNormal,
    VampPrior,
)
from ppl_vae.training import Batch, Fit, OneCycle, Run, fit, fit_prior, load
from ppl_vae.vae import VAE, DataSpec, Program, build

__all__ = [
    "IAF",
    "MLP",
    "VAE",
    "Amortized",
    "Batch",
    "Bernoulli",
    "Categorical",
    "Chain",
    "CodePrior",
    "Conditional",
    "ConditionalNormal",
    "ContinuousBernoulli",
    "ConvDecoder",
    "ConvEncoder",
    "Corruption",
    "DataSpec",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "Domain",
    "Evaluation",
    "Fit",
    "Flat",
    "FlowPrior",
    "FullRankNormal",
    "GatedMLP",
    "Gaussian",
    "GaussianMixture",
    "GaussianNoise",
    "Heterogeneous",
    "Laplace",
    "Likelihood",
    "Masking",
    "NegativeBinomial",
    "OneCycle",
    "Point",
    "Posterior",
    "Prior",
    "Program",
    "Run",
    "SaltAndPepper",
    "StandardNormal",
    "TopK",
    "VampPrior",
    "VectorQuantized",
    "build",
    "check_guide",
    "compare",
    "corruptions",
    "data",
    "diagnose",
    "diagnostics",
    "evaluate",
    "fit",
    "fit_prior",
    "load",
    "manifold",
    "objectives",
    "sklearn",
    "to_arviz",
]

__version__ = "0.1.0"
