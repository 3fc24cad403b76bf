"""Posteriors q(z | x), their parameters computed by an encoder."""

from ppl_vae.posteriors.beta import Beta
from ppl_vae.posteriors.bottom_up import BottomUp
from ppl_vae.posteriors.discrete import Bernoulli, Categorical
from ppl_vae.posteriors.flow import SplineFlow
from ppl_vae.posteriors.householder import Householder
from ppl_vae.posteriors.iaf import IAF
from ppl_vae.posteriors.ladder import Ladder
from ppl_vae.posteriors.mixture import GaussianMixturePosterior
from ppl_vae.posteriors.normal import DiagonalNormal, FullRankNormal, LowRankNormal
from ppl_vae.posteriors.point import Point, TopK
from ppl_vae.posteriors.posterior import Posterior
from ppl_vae.posteriors.quantized import FiniteScalar, LookupFree, ResidualQuantized
from ppl_vae.posteriors.refined import Refined
from ppl_vae.posteriors.relaxed import RelaxedBernoulli, RelaxedCategorical
from ppl_vae.posteriors.simplex import Dirichlet, LogisticNormal
from ppl_vae.posteriors.sphere import PowerSpherical
from ppl_vae.posteriors.student_t import StudentT
from ppl_vae.posteriors.sylvester import SylvesterFlow
from ppl_vae.posteriors.vector_quantized import VectorQuantized

__all__ = [
    "IAF",
    "Bernoulli",
    "Beta",
    "BottomUp",
    "Categorical",
    "DiagonalNormal",
    "Dirichlet",
    "FiniteScalar",
    "FullRankNormal",
    "GaussianMixturePosterior",
    "Householder",
    "Ladder",
    "LogisticNormal",
    "LookupFree",
    "LowRankNormal",
    "Point",
    "Posterior",
    "PowerSpherical",
    "Refined",
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "ResidualQuantized",
    "SplineFlow",
    "StudentT",
    "SylvesterFlow",
    "TopK",
    "VectorQuantized",
]
