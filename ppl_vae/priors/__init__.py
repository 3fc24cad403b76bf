"""Priors p(z), or p(z | context)."""

from ppl_vae.priors.code import CodePrior
from ppl_vae.priors.conditional import ConditionalNormal
from ppl_vae.priors.fixed import Flat, Laplace, Logistic, StandardNormal, StudentT, Uniform
from ppl_vae.priors.flow import FlowPrior
from ppl_vae.priors.mixture import GaussianMixture, VampPrior
from ppl_vae.priors.normal import DiagonalNormal, FullRankNormal
from ppl_vae.priors.prior import Prior
from ppl_vae.priors.zuko import MAF, NeuralSpline, RealNVP, ZukoPrior

__all__ = [
    "MAF",
    "CodePrior",
    "ConditionalNormal",
    "DiagonalNormal",
    "Flat",
    "FlowPrior",
    "FullRankNormal",
    "GaussianMixture",
    "Laplace",
    "Logistic",
    "NeuralSpline",
    "Prior",
    "RealNVP",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "VampPrior",
    "ZukoPrior",
]
