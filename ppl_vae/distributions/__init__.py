"""Distributions that Pyro lacks, or whose density is cheaper or more accurate here."""

from ppl_vae.distributions.autoregressive_flow import AutoregressiveFlow
from ppl_vae.distributions.bernoulli import Bernoulli
from ppl_vae.distributions.by_column import ByColumn
from ppl_vae.distributions.continuous_bernoulli import ContinuousBernoulli
from ppl_vae.distributions.diagonal_normal import DiagonalNormal
from ppl_vae.distributions.discretized_logistic import DiscretizedLogistic
from ppl_vae.distributions.improper import Improper
from ppl_vae.distributions.levels import Levels
from ppl_vae.distributions.mixture import Mixture
from ppl_vae.distributions.negative_binomial import NegativeBinomial
from ppl_vae.distributions.scales import positive, unconstrained

__all__ = [
    "AutoregressiveFlow",
    "Bernoulli",
    "ByColumn",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "Improper",
    "Levels",
    "Mixture",
    "NegativeBinomial",
    "positive",
    "unconstrained",
]
