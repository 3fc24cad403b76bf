"""Variational autoencoders as Pyro `model` and `guide`: any prior, likelihood and posterior, one contract."""

from ppl_vae import data, diagnostics, objectives
from ppl_vae.conditional import Amortized, Chain, Conditional
from ppl_vae.diagnostics import check_guide, diagnose, to_arviz
from ppl_vae.domain import Domain
from ppl_vae.evaluation import Evaluation, compare, evaluate
from ppl_vae.likelihoods import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
)
from ppl_vae.nets import MLP, ConvDecoder, ConvEncoder, GatedMLP
from ppl_vae.posteriors import IAF, DiagonalNormal, FullRankNormal, Point, Posterior
from ppl_vae.priors import Flat, FlowPrior, GaussianMixture, Laplace, Prior, StandardNormal, VampPrior
from ppl_vae.training import Batch, Fit, OneCycle, Run, fit, load
from ppl_vae.vae import VAE, Program, build

__all__ = [
    "IAF",
    "MLP",
    "VAE",
    "Amortized",
    "Batch",
    "Bernoulli",
    "Categorical",
    "Chain",
    "Conditional",
    "ContinuousBernoulli",
    "ConvDecoder",
    "ConvEncoder",
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
    "Laplace",
    "Likelihood",
    "OneCycle",
    "Point",
    "Posterior",
    "Prior",
    "Program",
    "Run",
    "StandardNormal",
    "VampPrior",
    "build",
    "check_guide",
    "compare",
    "data",
    "diagnose",
    "diagnostics",
    "evaluate",
    "fit",
    "load",
    "objectives",
    "to_arviz",
]

__version__ = "0.1.0"
