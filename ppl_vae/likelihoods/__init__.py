"""Likelihoods p(x | z), their parameters computed by a decoder."""

from ppl_vae.likelihoods.binary import Bernoulli, ContinuousBernoulli
from ppl_vae.likelihoods.counts import NegativeBinomial
from ppl_vae.likelihoods.gaussian import Gaussian
from ppl_vae.likelihoods.heterogeneous import Heterogeneous
from ppl_vae.likelihoods.levels import Categorical, DiscretizedLogistic
from ppl_vae.likelihoods.likelihood import Likelihood

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Gaussian",
    "Heterogeneous",
    "Likelihood",
    "NegativeBinomial",
]
