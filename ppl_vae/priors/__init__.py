"""Priors p(z), or p(z | context)."""

from ppl_vae.priors.code import AutoregressiveCodePrior, CodePrior
from ppl_vae.priors.conditional import ConditionalNormal
from ppl_vae.priors.discrete import Bernoulli, Categorical
from ppl_vae.priors.exemplar import Exemplar
from ppl_vae.priors.fixed import Flat, Laplace, Logistic, StandardNormal, StudentT, Uniform
from ppl_vae.priors.flow import FlowPrior
from ppl_vae.priors.mixture import GaussianMixture, VampPrior
from ppl_vae.priors.normal import DiagonalNormal, FullRankNormal
from ppl_vae.priors.prior import Prior
from ppl_vae.priors.relaxed import RelaxedBernoulli, RelaxedCategorical
from ppl_vae.priors.simplex import Dirichlet, LogisticNormal
from ppl_vae.priors.sphere import SphericalUniform
from ppl_vae.priors.zuko import MAF, NeuralSpline, RealNVP, ZukoPrior

__all__ = [
    "MAF",
    "AutoregressiveCodePrior",
    "Bernoulli",
    "Categorical",
    "CodePrior",
    "ConditionalNormal",
    "DiagonalNormal",
    "Dirichlet",
    "Exemplar",
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
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "SphericalUniform",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "VampPrior",
    "ZukoPrior",
]
