"""Distributions that Pyro lacks, or whose density is cheaper or more accurate here."""

from ppl_vae.distributions.autoregressive_flow import AutoregressiveFlow
from ppl_vae.distributions.bernoulli import Bernoulli
from ppl_vae.distributions.beta import Beta
from ppl_vae.distributions.by_column import ByColumn
from ppl_vae.distributions.continuous_bernoulli import ContinuousBernoulli
from ppl_vae.distributions.correlated_normal import CorrelatedNormal, LowRankNormal
from ppl_vae.distributions.diagonal_normal import DiagonalNormal
from ppl_vae.distributions.discrete import MOST_STATES, Bits, OneHots
from ppl_vae.distributions.discretized_logistic import DiscretizedLogistic
from ppl_vae.distributions.full_rank_normal import FullRankNormal
from ppl_vae.distributions.gamma import Gamma
from ppl_vae.distributions.improper import Improper
from ppl_vae.distributions.levels import Levels
from ppl_vae.distributions.log_normal import LogNormal
from ppl_vae.distributions.logistic import Logistic
from ppl_vae.distributions.mixture import Mixture
from ppl_vae.distributions.multinomial import Multinomial, log_shares
from ppl_vae.distributions.negative_binomial import NegativeBinomial
from ppl_vae.distributions.normal import Normal
from ppl_vae.distributions.normal_mixture import NormalMixture
from ppl_vae.distributions.poisson import Poisson
from ppl_vae.distributions.power_spherical import PowerSpherical, SphericalUniform
from ppl_vae.distributions.relaxed_bernoulli import RelaxedBernoulli
from ppl_vae.distributions.rotated_normal import RotatedNormal, rotated_normal
from ppl_vae.distributions.row import Row
from ppl_vae.distributions.scales import positive, unconstrained
from ppl_vae.distributions.simplex import Dirichlet, LogisticNormal, RelaxedCategorical
from ppl_vae.distributions.student_t import StudentT
from ppl_vae.distributions.sylvester import Sylvester, frame
from ppl_vae.distributions.zero_inflated import ZeroInflated
from ppl_vae.distributions.zuko_flow import ZukoFlow, zuko_flows

__all__ = [
    "MOST_STATES",
    "AutoregressiveFlow",
    "Bernoulli",
    "Beta",
    "Bits",
    "ByColumn",
    "ContinuousBernoulli",
    "CorrelatedNormal",
    "DiagonalNormal",
    "Dirichlet",
    "DiscretizedLogistic",
    "FullRankNormal",
    "Gamma",
    "Improper",
    "Levels",
    "LogNormal",
    "Logistic",
    "LogisticNormal",
    "LowRankNormal",
    "Mixture",
    "Multinomial",
    "NegativeBinomial",
    "Normal",
    "NormalMixture",
    "OneHots",
    "Poisson",
    "PowerSpherical",
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "RotatedNormal",
    "Row",
    "SphericalUniform",
    "StudentT",
    "Sylvester",
    "ZeroInflated",
    "ZukoFlow",
    "frame",
    "log_shares",
    "positive",
    "rotated_normal",
    "unconstrained",
    "zuko_flows",
]
