"""Priors p(z), or p(z | context)."""

from ppl_vae.priors.code import CodePrior
from ppl_vae.priors.conditional import ConditionalNormal
from ppl_vae.priors.fixed import Flat, Laplace, Logistic, StandardNormal, StudentT, Uniform
from ppl_vae.priors.flow import FlowPrior
from ppl_vae.priors.mixture import GaussianMixture, VampPrior
from ppl_vae.priors.normal import DiagonalNormal, FullRankNormal
from ppl_vae.priors.prior import Prior

__all__ = [
    "CodePrior",
    "ConditionalNormal",
    "DiagonalNormal",
    "Flat",
    "FlowPrior",
    "FullRankNormal",
    "GaussianMixture",
    "Laplace",
    "Logistic",
    "Prior",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "VampPrior",
]
