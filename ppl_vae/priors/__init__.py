"""Priors p(z), or p(z | context)."""

from ppl_vae.priors.code import CodePrior
from ppl_vae.priors.conditional import ConditionalNormal
from ppl_vae.priors.fixed import Flat, Laplace, Logistic, StandardNormal, StudentT, Uniform
from ppl_vae.priors.flow import FlowPrior
from ppl_vae.priors.mixture import GaussianMixture, VampPrior
from ppl_vae.priors.normal import DiagonalNormal, FullRankNormal
from ppl_vae.priors.prior import Prior
from ppl_vae.priors.simplex import Dirichlet, LogisticNormal
from ppl_vae.priors.sphere import SphericalUniform
from ppl_vae.priors.zuko import MAF, NeuralSpline, RealNVP, ZukoPrior

__all__ = [
    "MAF",
    "CodePrior",
    "ConditionalNormal",
    "DiagonalNormal",
    "Dirichlet",
    "Flat",
    "FlowPrior",
    "FullRankNormal",
    "GaussianMixture",
    "Laplace",
    "Logistic",
    "LogisticNormal",
    "NeuralSpline",
    "Prior",
    "RealNVP",
    "SphericalUniform",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "VampPrior",
    "ZukoPrior",
]
