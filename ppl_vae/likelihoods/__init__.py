"""Likelihoods p(x | z), their parameters computed by a decoder."""

from ppl_vae.likelihoods.binary import Bernoulli, Beta, ContinuousBernoulli
from ppl_vae.likelihoods.counts import Multinomial, NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from ppl_vae.likelihoods.gaussian import CorrelatedGaussian, Gaussian
from ppl_vae.likelihoods.heavy_tailed import Laplace, StudentT
from ppl_vae.likelihoods.heterogeneous import Heterogeneous
from ppl_vae.likelihoods.levels import Categorical, DiscretizedLogistic, DiscretizedLogisticMixture, OrderedLogistic
from ppl_vae.likelihoods.likelihood import Likelihood, Rowwise
from ppl_vae.likelihoods.positive import Gamma, LogNormal

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "ContinuousBernoulli",
    "CorrelatedGaussian",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gamma",
    "Gaussian",
    "Heterogeneous",
    "Laplace",
    "Likelihood",
    "LogNormal",
    "Multinomial",
    "NegativeBinomial",
    "OrderedLogistic",
    "Poisson",
    "Rowwise",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
]
